// Replaces the content of a report when the run behind it has changed; where one has scrolled to, and which knobs, stays.
"use strict";
(() => {
  let version = document.getElementById("report").dataset.version;
  const told = document.createElement("p");
  told.className = "subtitle watched";
  told.setAttribute("role", "status");
  document.querySelector("main").before(told);

  async function put(content) {
    await window.raytuneReport.settled();
    const open = new Map([...document.querySelectorAll("details")].map((each) => [each.dataset.chart, each.open]));
    // plotly listens to the window for each chart until it is told that the chart is gone.
    for (const chart of document.querySelectorAll(".chart")) Plotly.purge(chart);
    document.getElementById("report").innerHTML = content.body;
    document.getElementById("drawn").textContent = JSON.stringify(content.drawn);
    document.title = content.title;
    document.querySelectorAll("details").forEach((each) => { each.open = Boolean(open.get(each.dataset.chart)); });
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
      said(`Watched live; last looked at ${new Date().toLocaleTimeString()}.`);
    } catch (error) {
      // Only what could not be fetched says that nobody answers; anything else is a fault of this page.
      said(reached ? `This page could not show the newest report: ${error}`
        : "The command that shows this report has ended; what is shown is the last that it knew.");
    }
  }

  function said(words) {
    told.textContent = words;
    setTimeout(look, 2000);
  }
  look();
})();
