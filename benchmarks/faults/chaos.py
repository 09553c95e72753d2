"""Injects each kind of fault into studies many times; checks the studies' records and what they leave behind.

    python -m benchmarks chaos [--times 20] [--only NAME ...] [--seed 0] [--runs runs/chaos]

Each fault strikes at seeded random moments. Afterwards no trial may be lost or counted twice, the number of trials must
be the one asked for, each failed trial must say why, there must be a recommendation, and no actor, process, placement
group, application or core lease may be left. An interrupted run continues where it was: finished studies are kept in
RUNS/accounts.jsonl. The exit code is 1 if any condition is violated.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import ray
from ray import serve
from ray.cluster_utils import Cluster

from benchmarks.faults.account import Account, disturbed
from benchmarks.faults.drivers import DRIVERS, driver_killed
from benchmarks.faults.faults import FAULTS, Fault
from benchmarks.faults.nodes import node_fault, two_nodes
from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import ROOT, Origin
from benchmarks.recording.sections import markdown, put
from cluster.starting.own_ray import closed_ray


@contextmanager
def cluster_of_three() -> Iterator[Cluster]:
    """A cluster of a head and two nodes for replicas, whose core leases are separate from other studies' here."""
    temporary = tempfile.mkdtemp(prefix="chaos-")
    os.environ |= {"PYTHONPATH": str(ROOT), "RAY_TMPDIR": "/tmp", "TMPDIR": temporary}
    tempfile.tempdir = None  # so that it is read again
    with closed_ray():
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            two_nodes(cluster)
            ray.init(address=cluster.address, log_to_driver=False)
            serve.start(proxy_location="Disabled")
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
            shutil.rmtree(temporary, ignore_errors=True)


def faults_of(cluster: Cluster) -> tuple[Fault, ...]:
    """All faults, with the one that needs the cluster to kill a node."""
    return (*FAULTS, node_fault(cluster), *DRIVERS)


def accounts(cluster: Cluster, names: Sequence[str], times: int, seed: int, runs: Path) -> Iterator[Account]:
    """Runs studies until every fault has struck so often; those of an earlier run are read from the journal."""
    runs.mkdir(parents=True, exist_ok=True)
    journal = runs / "accounts.jsonl"
    known = [Account(**json.loads(line)) for line in journal.read_text().splitlines()] if journal.exists() else []
    for fault in faults_of(cluster):
        if names and fault.name not in names:
            continue
        done = [each for each in known if each.fault == fault.name]
        yield from done
        struck, number = sum(each.hits for each in done), len(done)
        while struck < times:
            out = runs / f"{fault.name.replace(' ', '-')}-{number}".replace("'", "")
            shutil.rmtree(out, ignore_errors=True)
            hits = min(fault.hits, times - struck)
            how = driver_killed if fault in DRIVERS else disturbed
            fault.prepare()
            each = how(fault, out, hits=hits, seed=seed + number)
            with journal.open("a") as lines:
                lines.write(json.dumps(asdict(each)) + "\n")
            print(json.dumps(asdict(each)), flush=True)
            yield each
            if not each.hits:
                break  # a fault that never strikes would go on for ever
            struck, number = struck + each.hits, number + 1


def table(found: Sequence[Account]) -> str:
    """The table of results, a row per fault."""
    rows = []
    for fault in dict.fromkeys(each.fault for each in found):
        own = [each for each in found if each.fault == fault]
        sums = [sum(figures) for figures in zip(*(_figures(each) for each in own), strict=True)]
        reasons: Counter[str] = Counter()
        for each in own:
            reasons.update(each.reasons)
        said = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3)) or "–"
        rows.append([fault, *(f"{figure:.0f}" for figure in sums), said])
    header = [
        "fault", "studies", "strikes", "trials", "tried again", "failed", "recommended", "breaches", "s",
        "reasons given by trials",
    ]  # fmt: skip
    return markdown(header, rows)


def _figures(each: Account) -> tuple[float, ...]:
    return 1, each.hits, each.trials, each.again, each.failed, each.recommended, len(each.breaches), each.seconds


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--times", type=int, default=20, help="how often each fault strikes at least")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="names of faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "chaos")
    asked = parser.parse_args(arguments)
    with cluster_of_three() as cluster:
        found = list(accounts(cluster, asked.only, asked.times, asked.seed, asked.runs))
    body = table(found)
    breaches = [f"- {each.fault}: {breach}" for each in found for breach in each.breaches]
    print(body, *breaches, sep="\n")
    if not asked.only:
        put(asked.out, "Faults during a study", Origin.here(__name__, arguments), "\n".join([body, "", *breaches]))
    sys.exit(bool(breaches))
