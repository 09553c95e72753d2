import numpy as np
import pytest

from cluster.catalogue import CATALOGUE, CPU_CORE
from cluster.emulated import roofline
from cluster.emulated.profiles import PROFILES, profile, random_profiles
from cluster.emulated.roofline import ModelProfile, memory_gib, service_time_s
from cluster.gpu_names.gpu_names import find

BATCHES = np.array([1.0, 2, 4, 8, 16, 32, 64, 128])
# By hand: 1e9 FLOP, 4e6 bytes of weights, 1e6 bytes moved an item, 10 kernels, 1 ms on a core.
PLAIN = ModelProfile("plain", "none", 1e9, 4e6, 1e6, 1e6, 10, 1e-3, "test")


def test_one_batch_by_hand():
    # T4: 5 us x 10 launches; compute 2e9 / (8.1e12 x 0.6) + 10 x 5 us; host 2 x 1 ms on 2 cores.
    expected = 50e-6 + 2e9 / 4.86e12 + 50e-6 + 1e-3
    assert service_time_s(PLAIN, find("T4"), batch=2, cpu_cores=4) == pytest.approx(expected)
    # 5 % of it: the same work on a twentieth of the peak
    expected = 50e-6 + 2e9 / (0.05 * 4.86e12) + 50e-6 + 1e-3
    assert service_time_s(PLAIN, find("T4"), batch=2, cpu_cores=4, gpu_share=0.05) == pytest.approx(expected)


def test_a_table_of_word_vectors_is_not_read_whole():
    words = profile("word2vec-500")
    touched = service_time_s(words, find("T4"), batch=1, cpu_cores=1) - words.cpu_s
    assert touched < words.weight_bytes / 320e9 / 10


@pytest.mark.parametrize("gpu", [*CATALOGUE, None], ids=lambda gpu: gpu.name if gpu else "CPU")
@pytest.mark.parametrize("model", ["resnet-50", "bert-base", "word2vec-250", "efficientnet-b6"])
def test_monotone(model, gpu):
    def time(batch=8.0, cores=4.0, share=0.5):
        return service_time_s(profile(model), gpu, batch=batch, cpu_cores=cores, gpu_share=share)

    assert np.all(np.diff(time(batch=BATCHES)) >= 0)
    assert np.all(np.diff(BATCHES / time(batch=BATCHES)) > 0)  # throughput
    assert np.all(np.diff(time(cores=np.arange(1.0, 6))) < 0)
    assert np.all(np.diff(time(share=np.linspace(0.05, 1, 20))) <= 0)


def test_a_device_reaches_six_tenths_of_float32_a_third_of_tensor_cores_and_four_fifths_of_its_bandwidth():
    t4 = roofline.datasheet_rates(find("T4"))
    assert t4.flops == pytest.approx({"float32": 8.1e12 * 0.6, "float16": 65e12 * 0.35, "int8": 130e12 * 0.35})
    assert (t4.bytes_s, t4.launch_s, t4.fill_s) == pytest.approx((320e9 * 0.8, 5e-6, 5e-6))
    core = roofline.datasheet_rates(None)  # 16 FLOP a cycle at 2.5 GHz, int8 four times as many; 3.2 GB/s
    assert core.flops == pytest.approx({"float32": 40e9 * 0.6, "int8": 160e9 * 0.35})
    assert core.bytes_s == pytest.approx(3.2e9 * 0.8)


@pytest.mark.parametrize("model", ["vgg-16", "mobilenet-v2"])  # held by arithmetic; by memory
def test_large_batches_reach_the_roof(model):
    asked, gpu = profile(model), find("T4")
    arithmetic = 8.1e12 * 0.6 / asked.flops
    memory = 320e9 * 0.8 / asked.traffic_bytes
    assert (arithmetic < memory) == (model == "vgg-16")

    def rate(batch):
        return batch / service_time_s(asked, gpu, batch=batch, cpu_cores=1e8)

    assert rate(1e8) == pytest.approx(min(arithmetic, memory), rel=1e-3)
    assert rate(8) < min(arithmetic, memory)


def test_bigger_cards_gain_more_from_batching():
    def gain(name):
        one_s, many_s = (service_time_s(PLAIN, find(name), batch=batch, cpu_cores=64) for batch in (1, 64))
        return 64 * one_s / many_s

    assert gain("M60") < gain("T4") < gain("V100") < gain("H100")


def test_cores_help_at_most_one_an_item():
    def time(cores):
        return service_time_s(PLAIN, find("T4"), batch=2, cpu_cores=cores)

    assert time(1) - time(2) == pytest.approx(1e-3)
    assert time(2) == time(5)


def test_without_a_gpu_cores_are_the_device():
    def time(cores):
        return service_time_s(PLAIN, None, batch=1, cpu_cores=cores)

    assert time(1) - time(4) == pytest.approx(1e9 / (CPU_CORE.peak("float32") * 0.6) * 0.75)
    assert time(4) > 5 * service_time_s(PLAIN, find("K80"), batch=1, cpu_cores=4)


def test_half_the_bytes_take_half_the_time_where_memory_holds():
    # Hardly any arithmetic, 4 GB of weights and 1 GB moved an item: a batch of 2 moves 6 GB, 3 GB in half precision.
    heavy = ModelProfile("heavy", "none", 4e9, 4e9, 1e6, 1e9, 1, 1e-9, "test")
    moved_s = 6e9 / (320e9 * 0.8)
    for precision, expected in (("float32", moved_s), ("float16", moved_s / 2)):
        took_s = service_time_s(heavy, find("T4"), batch=2, cpu_cores=1, precision=precision)
        assert took_s == pytest.approx(5e-6 + expected), precision


def test_half_precision():
    def time(gpu, precision):
        return service_time_s(profile("vgg-16"), find(gpu), batch=64, cpu_cores=64, precision=precision)

    assert time("T4", "float16") < time("T4", "float32")
    assert time("M60", "float16") == time("M60", "float32")  # no half rate, and held by arithmetic
    with pytest.raises(ValueError, match="unknown precision 'fp16'"):
        time("T4", "fp16")


def test_arrays_broadcast_and_numbers_stay_numbers():
    batch, share = BATCHES[:, None], np.array([0.1, 0.5, 1.0])
    table = service_time_s(PLAIN, find("T4"), batch=batch, cpu_cores=2.0, gpu_share=share)
    assert isinstance(table, np.ndarray) and table.shape == (8, 3)
    assert isinstance(service_time_s(PLAIN, find("T4"), batch=8, cpu_cores=2), float)
    assert table[3, 1] == service_time_s(PLAIN, find("T4"), batch=8, cpu_cores=2, gpu_share=0.5)


def test_memory():
    # 0.4 GiB context + (4e6 + 100 x 1e6) bytes
    assert memory_gib(PLAIN, batch=100) == pytest.approx(0.4 + 104e6 / 2**30)
    assert memory_gib(PLAIN, batch=100, precision="int8") == pytest.approx(0.4 + 26e6 / 2**30)


@pytest.mark.parametrize("asked", [{"batch": 0}, {"cpu_cores": 0}, {"gpu_share": 0.0}, {"gpu_share": 1.5}])
def test_refuses(asked):
    with pytest.raises(ValueError, match="a batch needs"):
        service_time_s(PLAIN, find("T4"), **{"batch": 1, "cpu_cores": 1, **asked})


def test_profiles_cover_the_papers_families():
    counts: dict[str, int] = {}
    for entry in PROFILES:
        counts[entry.family] = counts.get(entry.family, 0) + 1
    assert counts == {
        "ResNet": 5,
        "NASNet": 2,
        "VGG": 2,
        "Inception": 2,
        "DenseNet": 1,
        "MobileNet": 2,
        "EfficientNet": 7,
        "BERT": 2,
        "ALBERT": 4,
        "ELMo": 1,
        "NNLM": 2,
        "Small BERT": 4,
        "Word2vec": 2,
        "ELECTRA": 2,
        "USE": 4,
    }
    assert len({entry.name for entry in PROFILES}) == 42
    assert all(entry.activation_bytes <= entry.traffic_bytes and entry.source for entry in PROFILES)


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        # 1.8e9 multiply-adds, 11.7e6 weights, 2.5e6 outputs (half of them held, each written and read twice), 18 layers
        ("resnet-18", (3.6e9, 46.8e6, 5e6, 40e6, 54, 5e-3)),
        # 2 layers 128 wide over 128 words: 12 · 2 · 128² weights and 2 · 128² pairs of words at each word
        ("bert-tiny", (2 * 128 * (12 * 2 * 128**2) + 4 * 2 * 128**3, 17.6e6, 2 * 1_179_648, 8 * 1_179_648, 30, 5e-4)),
        # 128 vectors of 250, and nothing after them; of 50, and one layer of 50 by 50
        ("word2vec-250", (32_000, 1009.2e6, 128_000, 512_000, 3, 5e-4)),
        ("nnlm-50", (6_400 + 2 * 50 * 50, 192.8e6, 4 * 6_450, 16 * 6_450, 5, 5e-4)),
    ],
)
def test_profiles_by_hand(name, figures):
    found = profile(name)
    assert (
        found.flops, found.weight_bytes, found.activation_bytes, found.traffic_bytes, found.kernels, found.cpu_s
    ) == pytest.approx(figures)  # fmt: skip


def test_a_core_takes_ten_times_as_long_for_a_photograph_as_for_a_text():
    photographs = {"ResNet", "NASNet", "VGG", "Inception", "DenseNet", "MobileNet", "EfficientNet"}
    assert {entry.family for entry in PROFILES if entry.cpu_s == 5e-3} == photographs
    assert {entry.family for entry in PROFILES if entry.cpu_s == 5e-4} == {e.family for e in PROFILES} - photographs


def test_profiles_against_the_papers():
    assert profile("resnet-50").flops == 7.6e9 and profile("resnet-50").weight_bytes == 4 * 25.6e6
    # 22.4 GFLOP by the rule; Clark et al. 2020, Table 1, say 29 with the embeddings' and the head's products
    assert 0.7 < profile("bert-base").flops / 2.9e10 < 1.0
    assert 0.7 < profile("electra-small").flops / 3.7e9 < 1.0
    assert profile("albert-large").flops == profile("bert-large").flops  # shared weights, same work


def test_an_unknown_profile_names_the_closest():
    with pytest.raises(ValueError, match=r"no profile 'resnet50'; closest are resnet-50"):
        profile("resnet50")
    with pytest.raises(ValueError, match="positive finite `flops`"):
        ModelProfile("x", "x", 0.0, 1, 1, 1, 1, 1, "x")


def test_random_profiles():
    drawn = random_profiles(np.random.default_rng(0), 4000)
    assert drawn == random_profiles(np.random.default_rng(0), 4000)
    flops = np.log([entry.flops for entry in drawn])
    known = np.log([entry.flops for entry in PROFILES])
    assert known.min() <= flops.min() and flops.max() <= known.max()
    assert np.median(flops) == pytest.approx((known.min() + known.max()) / 2, abs=1.0)
    assert all(entry.activation_bytes <= entry.traffic_bytes for entry in drawn)
