"""An emulated GPU that processes share: who computes takes memory bandwidth from the others, and only then."""

import asyncio
import gc
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from cluster.emulated import devices, profiles, roofline, shared_card
from cluster.emulated.shared_card import SharedCard, card_here
from cluster.fakes import FakeTime
from cluster.gpu_names.gpu_names import find


def test_the_others_ask_while_their_batches_run(tmp_path):
    one, two, three = (SharedCard(tmp_path, asks) for asks in (0.5, 0.25, 1.0))
    assert one.others_ask(0.0) == 0.0
    two.busy_until(10.0)
    three.busy_until(20.0)
    assert [one.others_ask(now_s) for now_s in (5.0, 10.0, 15.0, 20.0)] == [1.25, 1.0, 1.0, 0.0]
    assert two.others_ask(15.0) == 1.0 and three.others_ask(5.0) == 0.25  # never what it asks itself


def test_a_process_that_is_gone_leaves_nothing(tmp_path):
    one, two = SharedCard(tmp_path, 0.5), SharedCard(tmp_path, 0.5)
    two.busy_until(10.0)
    del two
    gc.collect()
    assert one.others_ask(5.0) == 0.0 and len(list(tmp_path.iterdir())) == 1
    (tmp_path / "begun").touch()  # and one that has told nothing yet
    assert one.others_ask(5.0) == 0.0


def test_another_process_is_seen_by_the_clock_that_all_have(tmp_path):
    """It is killed, as replicas are, while it says that it computes."""
    program = (
        "import sys, time; from pathlib import Path; from cluster.emulated.shared_card import SharedCard\n"
        "card = SharedCard(Path(sys.argv[1]), 0.5); card.busy_until(time.monotonic() + 3600)\n"
        "print('told', flush=True); sys.stdin.read()"
    )
    own = SharedCard(tmp_path, 0.5)
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None and other.stdout.readline() == "told\n"
    other.kill()
    other.communicate()
    assert own.others_ask(time.monotonic()) == 0.5 and own.others_ask(time.monotonic() + 7200) == 0.0


def test_four_quarters_have_a_quarter_of_the_bandwidth_each(tmp_path):
    """Of a model that is bound by memory, a batch takes longer than alone, as by the formula with all of them busy."""
    clock = FakeTime()
    asks = roofline.bandwidth_asked(0.25)
    models = [
        devices.model(
            profile="bert-base", gpu_type="T4", cpu_cores=2, gpu_share=0.25, clock=clock.clock, sleep=clock.sleep,
            card=SharedCard(tmp_path, asks),
        )
        for _ in range(4)
    ]  # fmt: skip
    alone_s = models[0].service_time_s(1)
    for model in models[1:]:
        model._card.busy_until(1000.0)
    beside_s = roofline.service_time_s(
        profiles.profile("bert-base"), find("T4"), batch=1, cpu_cores=2, gpu_share=0.25, others=3 * asks
    )
    assert models[0].service_time_s(1) == beside_s >= alone_s
    asyncio.run(models[0]([None]))
    assert clock.now_s == pytest.approx(beside_s)
    assert models[1]._card.others_ask(0.0) == 3 * asks  # the one that computes, and the other two


@pytest.mark.parametrize(("shares", "parts"), [((0.25,) * 4, (0.25,) * 4), ((0.5, 0.5), (0.5, 0.5)), ((0.25,), (0.5,)),
                                               ((1.0, 0.25), (2 / 3, 1 / 3))])  # fmt: skip
def test_bandwidth_is_divided_by_what_each_can_use_and_never_more_than_there_is(shares, parts):
    """Of a model that does nothing but read: its time is as one over its part of the bandwidth."""
    reads = roofline.ModelProfile("reads", "made", 1.0, 1.0, 1.0, 1e12, 1e-9, 1e-12, "made")
    whole_s = roofline.service_time_s(reads, find("T4"), batch=1, cpu_cores=1)
    for at, (share, part) in enumerate(zip(shares, parts, strict=True)):
        others = sum(map(roofline.bandwidth_asked, (*shares[:at], *shares[at + 1 :])))
        took_s = roofline.service_time_s(reads, find("T4"), batch=1, cpu_cores=1, gpu_share=share, others=others)
        assert whole_s / took_s == pytest.approx(part, rel=1e-6)


@pytest.fixture
def in_a_replica(monkeypatch, tmp_path):
    """As in a process that Ray has started, on an emulated node."""
    context = SimpleNamespace(get_node_id=lambda: "node")
    ray = SimpleNamespace(is_initialized=lambda: True, get_runtime_context=lambda: context)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(shared_card.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    return context


def test_replicas_meet_on_the_card_that_ray_gave_them(in_a_replica, monkeypatch):
    one, same = card_here(0.5), card_here(0.5)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    other_card = card_here(0.5)
    in_a_replica.get_node_id = lambda: "another"
    other_node = card_here(0.5)
    one.busy_until(10.0)
    assert [each.others_ask(5.0) for each in (same, other_card, other_node)] == [0.5, 0.0, 0.0]


@pytest.mark.parametrize("visible", [None, ""])
def test_without_a_gpu_there_is_no_card(in_a_replica, monkeypatch, visible):
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert card_here(0.5) is None


def test_a_folder_that_others_can_write_to_is_refused(in_a_replica, tmp_path):
    (tmp_path / f"raytune-infer-emulated-{os.getuid()}").mkdir(mode=0o700)
    (tmp_path / f"raytune-infer-emulated-{os.getuid()}").chmod(0o777)
    with pytest.raises(PermissionError, match="of this user alone"):
        card_here(0.5)
