"""The roofline of generation against arithmetic by hand, and what must hold of any server."""

from dataclasses import replace

import numpy as np
import pytest

from cluster.emulated.generation import LINK_GB_S, LanguageModel, Runtime, link, serve
from cluster.gpu_names.gpu_names import find

DENSE = LanguageModel(8e9, 8e9, layers=32, width=4096, kv_width=1024)
MIXTURE = LanguageModel(48e9, 12e9, layers=32, width=4096, kv_width=1024, experts=8, experts_per_token=2)
PLAIN = Runtime(compute_efficiency=1, memory_efficiency=1, link_efficiency=1, step_s=0)
LAUNCHES_S = 32 * 10 * 2.5e-6


def test_one_sequence_on_one_card_by_hand():
    card = find("H100-SXM")
    made = serve(DENSE, card, input_tokens=1000, output_tokens=100, num_gpus=1, max_batch_size=1, runtime=PLAIN)
    kv_bytes = 2 * 32 * 1024 * 2
    step = (8e9 * 2 + 1050 * kv_bytes) / 3350e9 + LAUNCHES_S  # reads all weights and the keys of 1,050 tokens
    prefill = 1000 * (2 * 8e9 + 4 * 32 * 4096 * 500) / 989.5e12 + LAUNCHES_S
    assert made.tpot_s == pytest.approx(step)
    assert made.rps == pytest.approx(1 / (100 * step + prefill))
    assert made.ttft_s == pytest.approx(prefill + step / 2)
    assert made.latency_s == pytest.approx(made.ttft_s + 100 * step)


def test_sequences_fit_until_weights_and_keys_fill_nine_tenths():
    card = find("A100-40G")
    taken = (0.4 + (8e9 * 2 + 4 * 1024 * 4096 * 2) / 2**30, 2 * 32 * 1024 * 2 * 1280 / 2**30)
    most = int((0.9 * 40 - taken[0]) // taken[1])
    made = serve(
        DENSE, card, input_tokens=1024, output_tokens=256, num_gpus=1, max_batch_size=np.array([most, most + 1])
    )
    assert made.runs.tolist() == [True, False]
    lenient = serve(
        DENSE, card, input_tokens=1024, output_tokens=256, num_gpus=1, max_batch_size=np.array([most, 4 * most]),
        runtime=Runtime(admits_what_fits=True),
    )  # fmt: skip
    assert lenient.runs.all()
    assert lenient.rps[0] == lenient.rps[1] and lenient.ttft_s[1] > 2 * lenient.ttft_s[0]


def test_a_model_too_large_for_one_card_runs_on_several():
    large = LanguageModel(70e9, 70e9, layers=80, width=8192, kv_width=1024)
    made = serve(
        large, find("A100-80G"), input_tokens=512, output_tokens=128, num_gpus=np.array([1, 2, 4, 8]), max_batch_size=8
    )
    assert made.runs.tolist() == [False, True, True, True]


def test_more_slots_give_more_requests_and_slower_tokens():
    slots = 2.0 ** np.arange(9.0)
    for model in (DENSE, MIXTURE):
        made = serve(model, find("H200"), input_tokens=256, output_tokens=256, num_gpus=1, max_batch_size=slots)
        assert (np.diff(made.rps) > 0).all() and (np.diff(made.tpot_s) > 0).all()


@pytest.mark.parametrize(
    ("gb_s", "cards"),
    [
        # One direction, half of what datasheets print: 300, 600, 900 and 1,800 GB/s of NVLink 2 to 5.
        (150, "V100 V100-32G"),
        (300, "A100-40G A100-80G"),
        (450, "H100-SXM H200"),
        (900, "B200"),
        # Infinity Fabric: 3 links of 100 GB/s, 7 of 128 GB/s.
        (150, "MI250"),
        (448, "MI300X"),
        # 16 lanes of PCIe 3, 4 and 5.
        (16, "K80 M60 P4 P100 T4"),
        (32, "A10 A10G A30 L4 L40S RTX-A6000"),
        (64, "H100-PCIe RTX-PRO-6000"),
    ],
)
def test_cards_are_linked_as_their_datasheets_say(gb_s, cards):
    hop_s = 2e-6 if gb_s < 100 else 1e-6
    assert {name: link(find(name)) for name in cards.split()} == dict.fromkeys(cards.split(), (gb_s, hop_s))


def test_cards_over_pcie_gain_less_from_one_another():
    assert all(find(name).name == name for name in LINK_GB_S)

    def gain(card: str) -> float:
        made = serve(
            DENSE, find(card), input_tokens=2048, output_tokens=64, num_gpus=np.array([1, 8]), max_batch_size=8
        )
        return made.rps[1] / made.rps[0]

    assert gain("L40S") < gain("A100-80G") < 8


def test_the_all_reduce_by_hand():
    made = serve(DENSE, find("H200"), input_tokens=1, output_tokens=2, num_gpus=4, max_batch_size=1, runtime=PLAIN)
    ring = 4e-6 + 2 * 3 * (1e-6 + 4096 * 2 / 4 / 450e9)
    read = (8e9 * 2 / 4 + 2 * 2 * 32 * 1024 * 2 / 4) / 4800e9
    assert made.tpot_s == pytest.approx(read + 64 * ring + LAUNCHES_S)


@pytest.mark.parametrize(
    ("kv_width", "num_gpus", "parts"),
    [(1024, 4, 4), (1024, 8, 8), (256, 2, 2), (256, 4, 2), (256, 8, 2), (128, 4, 1), (64, 4, 1)],
)
def test_a_head_of_128_channels_is_never_divided_among_cards(kv_width, num_gpus, parts):
    few = LanguageModel(8e9, 8e9, layers=32, width=4096, kv_width=kv_width)
    made = serve(few, find("H200"), input_tokens=1e5, output_tokens=2, num_gpus=num_gpus, max_batch_size=1,
                 runtime=PLAIN)  # fmt: skip
    ring = 4e-6 + 2 * (num_gpus - 1) * (1e-6 + 4096 * 2 / num_gpus / 450e9)
    keys = 100_001 * 2 * 32 * kv_width * 2 / parts
    assert made.tpot_s == pytest.approx((8e9 * 2 / num_gpus + keys) / 4800e9 + 64 * ring + LAUNCHES_S, rel=1e-9)


@pytest.mark.parametrize("together", [0.0, 0.5, 1.0])
def test_of_prompts_that_arrive_together_the_last_waits_for_all_others(together):
    slots = np.array([1, 2, 8])
    made = [
        serve(DENSE, find("H100-SXM"), input_tokens=1000, output_tokens=100, num_gpus=1, max_batch_size=slots,
              runtime=replace(PLAIN, prompts_together=share))
        for share in (0.0, together)
    ]  # fmt: skip
    prefill_s = 1000 * (2 * 8e9 + 4 * 32 * 4096 * 500) / 989.5e12 + LAUNCHES_S
    waits_s = together * prefill_s * np.array([0, 1, 7])
    np.testing.assert_allclose(made[1].ttft_s - made[0].ttft_s, waits_s, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(made[1].latency_s - made[0].latency_s, waits_s, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(made[1].rps, made[0].rps)


def test_a_mixture_reads_what_its_tokens_choose():
    assert MIXTURE.parameters_touched(1) == pytest.approx(12e9)
    assert MIXTURE.parameters_touched(1e6) == pytest.approx(48e9)
    assert DENSE.parameters_touched(np.array([1.0, 64.0])).tolist() == [8e9, 8e9]
    draws = np.random.default_rng(0).random((4000, 5, 8)).argsort(-1)[..., :2]
    touched = np.mean([len(np.unique(draw)) for draw in draws])
    assert MIXTURE.parameters_touched(5) == pytest.approx(48e9 * touched / 8, rel=0.02)  # no shared parameters


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="active_parameters and experts_per_token must not exceed"):
        LanguageModel(1e9, 2e9, 10, 1000, 128)
    with pytest.raises(ValueError, match="raise active_parameters"):
        LanguageModel(8e9, 1e9, 10, 1000, 128, experts=8, experts_per_token=4)
    with pytest.raises(ValueError, match="positive finite"):
        LanguageModel(1e9, 1e9, 0, 1000, 128)
    with pytest.raises(ValueError, match="1 or more"):
        serve(DENSE, find("T4"), input_tokens=1, output_tokens=1, num_gpus=0, max_batch_size=1)
