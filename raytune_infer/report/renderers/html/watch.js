// Replaces the content of a report when the run behind it has changed; where one has scrolled to, and which knobs, stays.
"use strict";
(() => {
  let version = document.getElementById("report").dataset.version;
  const told = document.createElement("p");
  told.className = "subtitle watched";
  told.setAttribute("role", "status");
  document.querySelector("main").before(told);

  function put(content) {
    const open = [...document.querySelectorAll("details")].map((each) => each.open);
    document.getElementById("report").innerHTML = content.body;
    document.getElementById("drawn").textContent = JSON.stringify(content.drawn);
    document.title = content.title;
    document.querySelectorAll("details").forEach((each, at) => { each.open = Boolean(open[at]); });
    window.raytuneReport.begin();
  }

  async function look() {
    try {
      const answer = await fetch(`content?version=${encodeURIComponent(version)}`);
      const content = await answer.json();
      const [x, y] = [window.scrollX, window.scrollY];
      if (content.body !== undefined) {
        put(content);
        version = content.version;
        window.scrollTo(x, y);
      }
      told.textContent = `Watched live; last looked at ${new Date().toLocaleTimeString()}.`;
    } catch {
      told.textContent = "The command that shows this report has ended; what is shown is the last that it knew.";
    }
    setTimeout(look, 2000);
  }
  look();
})();
