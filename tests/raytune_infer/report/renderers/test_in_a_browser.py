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

from raytune_infer.report.chart import Axis, Chart, Dot, Plane, PlaneCell, Planes, Quantity, Series
from raytune_infer.report.renderers.html import html_view
from raytune_infer.report.renderers.html.html_view import render
from raytune_infer.report.renderers.html.page import as_script, page
from raytune_infer.report.view import Column, Row, Table, View
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
    return told_by(folder, "frame.html")


def told_by(folder: Path, name: str) -> dict:
    """What a page wrote into its element `told`."""
    command = [
        str(CHROMIUM), *FLAGS, "--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}", "--dump-dom",
        (folder / name).as_uri(),
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


# The answers of the command that shows a run: the page's charts again and again, each time with a table before them.
ANSWERS = """<script>
const listeners = { resize: 0 }, asked = [];
for (const [name, step] of [["addEventListener", 1], ["removeEventListener", -1]]) {
  const before = window[name];
  window[name] = function (kind, ...more) {
    if (kind in listeners) listeners[kind] += step;
    return before.call(window, kind, ...more);
  };
}
const later = window.setTimeout;
window.setTimeout = (what, after, ...more) => later(what, after === 2000 ? 200 : after, ...more);
window.fetch = async () => {
  asked.push({ ...listeners, open: [...document.querySelectorAll("details")].map((each) => each.open),
    chosen: [...document.querySelectorAll("select")].map((each) => each.value) });
  if (asked.length === 1) {
    document.querySelectorAll("details")[0].open = true;
    const [across] = document.querySelectorAll("select");
    across.value = "c";
    across.dispatchEvent(new Event("change"));
  }
  if (asked.length < 6) return { ok: true, json: async () => ({ ...CONTENT, version: String(asked.length) }) };
  window.told = asked;
  return { ok: false, text: async () => "no charts without plotly\\n" };
};
</script>"""


@pytest.mark.timeout(180)
def test_a_page_that_is_replaced_keeps_what_was_chosen_by_its_name_and_leaves_nothing_behind(tmp_path):
    values = "1", "2"
    cells = (PlaneCell(0, 0, measured=Quantity(1.0)),)
    pairs = ("a", "b"), ("a", "c"), ("b", "c")
    planes = Planes("planes", "t", "c", Axis("rps"), tuple(Plane(x, values, y, values, cells) for x, y in pairs))
    first = Chart("first", "t", "c", Axis("x"), Axis("y"), (Series("s", "line", (Dot(1.0, Quantity(2.0)),)),))
    before, after = View("t", charts=(planes,)), View("t", charts=(first, planes))
    content = {"title": "t", "body": html_view.body(after), "drawn": html_view.drawn(after)}
    whole = page("t", html_view.body(before), html_view.drawn(before), version="0")
    answers = ANSWERS.replace("CONTENT", as_script(content))
    told = asked_of(tmp_path, whole.replace("<head>", "<head>" + answers, 1))
    assert told["asked"][-1]["open"] == [False, True]
    assert all(each["chosen"] == ["c", "b"] for each in told["asked"][1:])
    # With one chart more there is one that listens more, however often the page was replaced.
    assert [each["resize"] for each in told["asked"][2:]] == [told["asked"][2]["resize"]] * 4
    assert told["status"] == "no charts without plotly; what is shown is the last that could be."


def asked_of(folder: Path, text: str) -> dict:
    """What a watched page told of itself when it was asked for the last time, and its line of status after that."""
    (folder / "watched.html").write_text(
        text.replace("</body>", """<pre id="told"></pre><script>
const look = () => {
  if (!window.told || !document.querySelector(".watched").textContent.includes("last that")) return later(look, 50);
  document.getElementById("told").textContent =
    JSON.stringify({ asked: window.told, status: document.querySelector(".watched").textContent });
  window.fetch = () => new Promise(() => {});
};
look();
</script></body>"""), encoding="utf-8",
    )  # fmt: skip
    return told_by(folder, "watched.html")


# A page whose newest content cannot be drawn: how long it waits each time before it asks again, in ms.
FAILS = """<script>
const waits = [], later = window.setTimeout;
window.setTimeout = (what, after, ...more) => {
  if (after >= 2000) waits.push(after);
  return later(what, after >= 2000 ? 20 : after, ...more);
};
window.fetch = async () => {
  if (waits.length === 6) window.waited = [...waits];
  return { ok: true, json: async () => (
    { title: "t", body: "", version: waits.length < 4 ? "1" : "0", drawn: { nowhere: { data: [], layout: {} } },
      ...(waits.length < 4 ? {} : { body: undefined }) }) };
};
</script>"""


@pytest.mark.timeout(180)
def test_what_cannot_be_drawn_is_tried_again_less_and_less_often_until_something_can(tmp_path):
    whole = page("t", "", {}, version="0").replace("<head>", "<head>" + FAILS, 1)
    (tmp_path / "watched.html").write_text(
        whole.replace("</body>", """<pre id="told"></pre><script>
const seen = () => {
  if (!window.waited) return later(seen, 50);
  document.getElementById("told").textContent = JSON.stringify({ waits: window.waited });
  window.fetch = () => new Promise(() => {});
};
seen();
</script></body>"""), encoding="utf-8",
    )  # fmt: skip
    assert told_by(tmp_path, "watched.html")["waits"] == [4000, 8000, 16000, 32000, 2000, 2000]


@pytest.mark.timeout(180)
@pytest.mark.skipif(
    shutil.which("pdftotext") is None, reason="pdftotext is missing (Debian: apt install poppler-utils)"
)
def test_on_paper_all_columns_are_within_the_page_and_so_are_the_numbers_of_charts(tmp_path):
    columns = tuple(Column(f"head{at}", kind="text") for at in range(25))
    table = Table("t", columns, (Row(tuple(f"cell{at} of several words" for at in range(25))),))
    dots = (Dot(1.0, Quantity(2.0), "labelled"),)
    chart = Chart("c", "t", "c", Axis("x"), Axis("y"), (Series("s", "line", dots),))
    with (tmp_path / "paper.html").open("w", encoding="utf-8") as file:
        render(View("t", tables=(table,), charts=(chart,)), file)
    pdf, words = tmp_path / "paper.pdf", tmp_path / "words.html"
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={pdf}",
               (tmp_path / "paper.html").as_uri()]  # fmt: skip
    subprocess.run(command, capture_output=True, timeout=120, check=True, env={**os.environ, "HOME": str(tmp_path)})
    subprocess.run(["pdftotext", "-bbox", str(pdf), str(words)], check=True)
    told = words.read_text()
    [width] = {float(found) for found in re.findall(r'<page width="([0-9.]+)"', told)}
    found = re.findall(r'xMax="([0-9.]+)" yMax="[0-9.]+">([^<]*)<', told)
    assert max(float(right) for right, _ in found) <= width
    said = "".join(word for _, word in found)
    assert said.count("words") == 25 and said.count("head") == 25 and "labelled" in said


@pytest.mark.timeout(180)
def test_five_hundred_trials_with_long_names_and_other_alphabets_fit_too(tmp_path):
    words = "نموذج " * 40, "模型" * 90, "a" * 300, "</script><b>", "🙂"
    trials = [measured(n + 1, n % 5, None if n % 7 == 3 else 10.0 + n) for n in range(500)]
    named = [replace(t, config={**t.config, "template": words[t.position]}) for t in trials]
    view = whole_report(replace(facts(), trials=tuple(named)))
    check(seen(tmp_path, view), charts=2)
