"""A real study while a real Prometheus scrapes the metrics port of Ray: every panel shows something."""

import pytest
import ray

from raytune_infer import Study
from raytune_infer.spec.service_spec import load_spec
from raytune_infer.study.monitoring.grafana import dashboard
from tests.raytune_infer.study.monitoring.prometheus import program, scraping

MODEL = """\
import time


def build():
    def model(batch):
        time.sleep(0.03)
        return [0.5 for _ in batch]

    return model
"""

SERVICE = """\
name: scraped
model: {build: "waiting:build"}
samples: [[1.0], [2.0]]
knobs: {batch_wait_ms: [0, 1]}
objective: {maximize: rps}
load: {level_min_s: 2, level_max_s: 3, total_max_s: 8, max_concurrency: 4}
budget: {trials: 2, compare_s: 6}
"""


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_every_panel_shows_a_study_that_runs(local_ray, tmp_path):
    if (found := program()) is None:
        pytest.skip("Prometheus is not installed (Debian: apt-get install prometheus)")
    (tmp_path / "waiting.py").write_text(MODEL)
    (tmp_path / "service.yaml").write_text(SERVICE)
    (node,) = (node for node in ray.nodes() if node["Alive"])
    with scraping(f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}", found, tmp_path) as prometheus:
        Study(load_spec(tmp_path / "service.yaml"), out=tmp_path / "run").run()
        made = dashboard()
        for panel in made["panels"]:
            for target in panel["targets"]:
                query = target["expr"].replace("$study", "scraped").replace("$run", ".*")
                # A number at any time while the study ran.
                seen = prometheus.ask("query", query=f"count_over_time((({query}) >= 0)[30m:1s])")["result"]
                assert seen, f"nothing to show in {panel['title']!r}: {query}"
        # Set once, when the search begins, and there as long as the study: Ray forgets what is not set again.
        (budget,) = prometheus.ask("query", query='ray_raytune_infer_trials_budget{study="scraped"}[30m]')["result"]
        times_s = [float(time_s) for time_s, _ in budget["values"]]
        assert times_s[-1] - times_s[0] > 15 and len(times_s) > 0.9 * (times_s[-1] - times_s[0])
        assert "scraped" in prometheus.ask("label/study/values", **{"match[]": "ray_raytune_infer_trials_budget"})
        best = prometheus.ask("query", query='last_over_time(ray_raytune_infer_best_rate_rps{study="scraped"}[30m])')
        assert 10 < float(best["result"][0]["value"][1]) < 1000  # 30 ms a batch of one, so that few requests are sent
