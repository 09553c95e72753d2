import numpy as np
import pytest

from cluster import roofline
from cluster.gpu_names import find
from cluster.gpus import CATALOGUE, CPU_CORE
from cluster.profiles import PROFILES, profile, random_profiles
from cluster.roofline import ModelProfile, fits, memory_gib, rps, service_time_s

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


@pytest.mark.parametrize("model", ["vgg-16", "mobilenet-v2"])  # held by arithmetic; by memory
def test_large_batches_reach_the_roof(model):
    asked, gpu = profile(model), find("T4")
    arithmetic = 8.1e12 * roofline.COMPUTE_EFFICIENCY["float32"] / asked.flops
    memory = 320e9 * roofline.MEMORY_EFFICIENCY / asked.traffic_bytes
    assert (arithmetic < memory) == (model == "vgg-16")
    rate = rps(asked, gpu, batch=1e8, cpu_cores=1e8)
    assert rate == pytest.approx(min(arithmetic, memory), rel=1e-3)
    assert rps(asked, gpu, batch=8, cpu_cores=1e8) < min(arithmetic, memory)


def test_bigger_cards_gain_more_from_batching():
    def gain(name):
        return rps(PLAIN, find(name), batch=64, cpu_cores=64) / rps(PLAIN, find(name), batch=1, cpu_cores=64)

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
    assert fits(PLAIN, batch=100, gpu_memory_gib=0.5) and not fits(PLAIN, batch=200, gpu_memory_gib=0.5)


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
