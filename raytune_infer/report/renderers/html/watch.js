// Replaces the content of a report when the run behind it has changed; where one has scrolled to, and which knobs, stays.
"use strict";
(() => {
  let version = document.getElementById("report").dataset.version;
  const usual = 2000, longest = 60000;  // ms between two looks
  let wait = usual;
  const told = document.createElement("p");
  told.className = "subtitle watched";
  told.setAttribute("role", "status");
  document.querySelector("main").before(told);

  const named = (each) => each.dataset.chart || each.dataset.listing;

  async function put(content) {
    await window.raytuneReport.settled();
    const open = new Map([...document.querySelectorAll("details")].map((each) => [named(each), each.open]));
    // plotly listens to the window for each chart until it is told that the chart is gone.
    for (const chart of document.querySelectorAll(".chart")) Plotly.purge(chart);
    document.getElementById("report").innerHTML = content.body;
    document.getElementById("drawn").textContent = JSON.stringify(content.drawn);
    document.title = content.title;
    document.querySelectorAll("details").forEach((each) => { each.open = Boolean(open.get(named(each))); });
    await window.raytuneReport.begin();
  }

  async function look() {
    let reached = false;
    try {
      const answer = await fetch(`content?version=${encodeURIComponent(version)}`);
      reached = true;
      if (!answer.ok) return said(`${(await answer.text()).trim()}; what is shown is the last that could be.`);
      const content = await answer.json();
      const [x, y] = [window.scrollX, window.scrollY];
      if (content.body !== undefined) {
        await put(content);
        version = content.version;
        window.scrollTo(x, y);
      }
      wait = usual;
      said(`Watched live; last looked at ${new Date().toLocaleTimeString()}.`);
    } catch (error) {
      // What fails once mostly fails again: it is tried less and less often, as it costs the browser much.
      wait = reached ? Math.min(2 * wait, longest) : usual;
      // Only what could not be fetched says that nobody answers; anything else is a fault of this page.
      said(reached ? `This page could not show the newest report: ${error}; it tries again in ${wait / 1000} s.`
        : "The command that shows this report has ended; what is shown is the last that it knew.");
    }
  }

  function said(words) {
    told.textContent = words;
    setTimeout(look, wait);
  }
  look();
})();
