// Draws the charts of a report with plotly, in the colours of the page, and lets a reader choose two knobs.
"use strict";
(() => {
  const media = window.matchMedia("(prefers-color-scheme: dark)");
  let printing = false;
  const narrow = () => document.documentElement.clientWidth < 600;

  function coloured(layout) {
    const dark = media.matches && !printing;
    const ink = dark ? "#ececec" : "#1a1a1a", line = dark ? "#454a50" : "#d9d9d9";
    const axis = { gridcolor: line, linecolor: ink, zerolinecolor: line, automargin: true, exponentformat: "none" };
    return {
      ...layout, autosize: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink, family: "system-ui, 'Noto Sans', 'DejaVu Sans', sans-serif", size: narrow() ? 11 : 13 },
      margin: { l: 50, r: 10, t: 30, b: 45 }, hovermode: "closest",
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: narrow() ? 10 : 12 }, maxheight: 0.3 },
      xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
      shapes: (layout.shapes || []).map((shape) => ({ ...shape, line: { ...shape.line, color: ink } })),
    };
  }

  let last = Promise.resolve();

  function draw(place, figure) {
    const drawn = Plotly.react(place, figure.data, coloured(figure.layout), { responsive: true, displaylogo: false,
      displayModeBar: window.matchMedia("(hover: hover)").matches ? "hover" : false, modeBarButtonsToRemove: ["select2d", "lasso2d"] });
    last = Promise.allSettled([last, drawn]);
    return drawn;
  }

  // Of two knobs in either order there is one plane; in the other order it is turned.
  function chosen(planes, x, y) {
    const straight = planes.find((plane) => plane.x === x && plane.y === y);
    if (straight) return straight;
    const other = planes.find((plane) => plane.x === y && plane.y === x);
    if (!other) return null;
    const turned = (rows) => rows[0].map((_, at) => rows.map((row) => row[at]));
    const data = other.data.map((trace) => trace.type === "heatmap"
      ? { ...trace, z: turned(trace.z), text: turned(trace.text) } : { ...trace, x: trace.y, y: trace.x });
    return { data, layout: { xaxis: other.layout.yaxis, yaxis: other.layout.xaxis } };
  }

  const choices = new Map();  // by the chart's name: kept when the content is replaced, wherever the chart then stands

  function offer(place, figure) {
    const row = place.parentElement.querySelector(".choice");
    const before = choices.get(figure.name);
    if (!before || !chosen(figure.planes, before.x, before.y)) {
      choices.set(figure.name, { x: figure.planes[0].x, y: figure.planes[0].y });
    }
    if (figure.planes.length < 2) return;
    const choice = choices.get(figure.name);
    for (const axis of ["x", "y"]) {
      const label = document.createElement("label"), select = document.createElement("select");
      label.append(axis === "x" ? "across: " : "upwards: ", select);
      for (const knob of figure.knobs) select.append(new Option(knob, knob));
      select.value = choice[axis];
      select.addEventListener("change", () => {
        const other = axis === "x" ? "y" : "x";
        if (select.value === choice[other]) choice[other] = choice[axis];
        choice[axis] = select.value;
        for (const each of row.querySelectorAll("select")) each.value = choice[each.dataset.axis];
        show(place, figure);
      });
      select.dataset.axis = axis;
      row.append(label);
    }
  }

  function show(place, figure) {
    if (!figure.planes) return draw(place, figure);
    const choice = choices.get(figure.name), plane = chosen(figure.planes, choice.x, choice.y);
    return draw(place, plane || { data: [], layout: {} });
  }

  function all() {
    const drawn = JSON.parse(document.getElementById("drawn").textContent);
    return Object.entries(drawn).map(([id, figure]) => [document.getElementById(id), figure]);
  }

  async function begin() {
    for (const [place, figure] of all()) {
      if (figure.planes) offer(place, figure);
      await show(place, figure);
    }
    document.documentElement.dataset.drawn = String(all().length);
  }

  const again = () => { for (const [place, figure] of all()) show(place, figure); };
  media.addEventListener("change", again);
  // On paper nothing can be opened: the numbers of each chart are there.
  window.addEventListener("beforeprint", () => {
    printing = true;
    for (const each of document.querySelectorAll("details:not([open])")) each.dataset.shut = each.open = true;
    again();
  });
  window.addEventListener("afterprint", () => {
    printing = false;
    for (const each of document.querySelectorAll("details[data-shut]")) {
      each.open = false;
      delete each.dataset.shut;
    }
    again();
  });
  let begun = begin();
  // Nothing is taken from the page while it is being drawn.
  window.raytuneReport = { begin: () => (begun = begin()), settled: () => Promise.allSettled([begun, last]) };
})();
