"""A report in headless Chromium: every chart is drawn, no script fails, nothing is fetched, a phone is wide enough."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from raytune_infer.report.renderers.html.html_view import render
from raytune_infer.report.whole.run_facts import read_facts
from raytune_infer.report.whole.whole_report import whole_report
from tests.raytune_infer.ranking.measured_runs import CONFIGS, write_run
from tests.raytune_infer.report.every_view import facts, measured

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)")

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--virtual-time-budget=20000",
    "--enable-logging=stderr",
)  # fmt: skip
PHONE_PX = 390

# Asked on the page itself, when all is drawn. A frame is as narrow as a phone, which a window of Chromium's cannot be.
FRAME = """<!doctype html><iframe id="f" src="report.html" style="width:{width}px;height:900px;border:0"></iframe>
<pre id="told"></pre><script>
const told = (text) => { document.getElementById("told").textContent = text; };
const frame = document.getElementById("f");
frame.addEventListener("load", () => {
  const page = frame.contentWindow, errors = [];
  page.addEventListener("error", (event) => errors.push(String(event.message)));
  page.addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
  const look = () => {
    const root = page.document.documentElement;
    if (root.dataset.drawn === undefined) { setTimeout(look, 50); return; }
    const charts = [...page.document.querySelectorAll(".chart")];
    told(JSON.stringify({
      drawn: Number(root.dataset.drawn), charts: charts.length, errors,
      empty: charts.filter((chart) => !chart.querySelector(".main-svg")).map((chart) => chart.id),
      width: page.document.scrollingElement.scrollWidth, inner: page.innerWidth,
      fetched: page.performance.getEntriesByType("resource").map((entry) => entry.name),
    }));
  };
  look();
});
</script>""".replace("{width}", str(PHONE_PX))


def seen(folder: Path, view) -> dict:
    """What Chromium says of a view's page in a frame as wide as a phone."""
    with (folder / "report.html").open("w", encoding="utf-8") as file:
        render(view, file)
    (folder / "frame.html").write_text(FRAME)
    command = [
        str(CHROMIUM), *FLAGS, "--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}", "--dump-dom",
        (folder / "frame.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "HOME": str(folder)})
    assert not re.findall(r"CONSOLE.*", done.stderr), done.stderr
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.S)
    assert found is not None and found[1], done.stderr
    told: dict = json.loads(unescape(found[1]))
    return told


def check(told: dict, charts: int) -> None:
    assert (told["errors"], told["fetched"], told["empty"]) == ([], [], [])
    assert told["drawn"] == told["charts"] == charts
    assert told["width"] <= told["inner"] == PHONE_PX


@pytest.mark.timeout(180)
def test_a_report_is_drawn_whole_fetches_nothing_and_fits_on_a_phone(tmp_path):
    run = write_run(tmp_path / "run", configs=CONFIGS[:4], again=CONFIGS[:2] * 2)
    check(seen(tmp_path, whole_report(read_facts(run))), charts=5)


@pytest.mark.timeout(180)
def test_five_hundred_trials_with_long_names_and_other_alphabets_fit_too(tmp_path):
    words = "نموذج " * 40, "模型" * 90, "a" * 300, "</script><b>", "🙂"
    trials = [measured(n + 1, n % 5, None if n % 7 == 3 else 10.0 + n) for n in range(500)]
    named = [replace(t, config={**t.config, "template": words[t.position]}) for t in trials]
    view = whole_report(replace(facts(), trials=tuple(named)))
    check(seen(tmp_path, view), charts=2)
