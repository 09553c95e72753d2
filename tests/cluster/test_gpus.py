import pickle
import re
from collections import Counter
from typing import Any

import pytest
from ray.util.accelerators import accelerators

from cluster import gpus
from cluster.catalogue import CATALOGUE, NO_GPU_FEATURES
from cluster.gpu_names import gpu_names, mig
from cluster.gpu_names.gpu_names import find
from cluster.gpus import FEATURE_NAMES

ASKED_FOR = (
    "K80 M60 P100 V100 T4 A10 A10G A30 A100-40G A100-80G L4 L40S H100-PCIe H100-SXM H200 B200 "
    "RTX-A6000 RTX-PRO-6000 RTX-4090 GH200 MI250 MI300X Gaudi2 Gaudi3 Max-1550"
).split()


def test_has_every_card_and_no_name_twice():
    names = Counter(gpu_names._spelling(name) for gpu in CATALOGUE for name in (gpu.name, *gpu.aliases))
    assert set(ASKED_FOR) <= {gpu.name for gpu in CATALOGUE}
    assert [name for name, times in names.items() if times > 1] == []


@pytest.mark.parametrize("gpu", CATALOGUE, ids=lambda gpu: gpu.name)
def test_figures_are_plausible(gpu):
    assert gpu.source
    assert 8 <= gpu.memory_gib <= 192 and 160 <= gpu.bandwidth_gb_s <= 8000
    assert 4e12 <= gpu.peak("float32") <= gpu.peak("float16") <= gpu.peak_flops.get("int8", 5e15)
    # Every card reads its whole memory 10 to 60 times a second: a figure in the wrong unit shows.
    assert 10 < gpu.bandwidth_gb_s / gpu.memory_gib < 60


# GiB, GB/s, and TFLOP/s of float32 and of 16 bit without sparsity: from the makers' datasheets once more. A card
# without a rate of its own for 16 bit has float32's.
DATASHEETS = {
    "K80": (12, 240, 4.37, 4.37),
    "M60": (8, 160, 4.825, 4.825),
    "P4": (8, 192, 5.5, 5.5),
    "P100": (16, 732, 9.3, 18.7),
    "P100-12G": (12, 549, 9.3, 18.7),
    "P100-SXM": (16, 732, 10.6, 21.2),
    "V100": (16, 900, 15.7, 125),
    "V100-PCIe": (16, 900, 14, 112),
    "V100-32G-PCIe": (32, 900, 14, 112),
    "V100S": (32, 1134, 16.4, 130),
    "V100-32G": (32, 900, 15.7, 125),
    "T4": (16, 320, 8.1, 65),
    "A10": (24, 600, 31.2, 125),
    "A10G": (24, 600, 35, 70),
    "A30": (24, 933, 10.3, 165),
    "A100-40G": (40, 1555, 19.5, 312),
    "A100-80G": (80, 2039, 19.5, 312),
    "A100-80G-PCIe": (80, 1935, 19.5, 312),
    "A100-64G": (64, 1638.4, 22.4, 358.2),
    "L4": (24, 300, 30.3, 242 / 2),
    "L40S": (48, 864, 91.6, 362.05),
    "H100-PCIe": (80, 2000, 51, 1513 / 2),
    "H100-SXM": (80, 3350, 67, 1979 / 2),
    "H100-NVL": (94, 3900, 60, 1671 / 2),
    "H200-NVL": (141, 4800, 60, 1671 / 2),
    "H200": (141, 4800, 67, 1979 / 2),
    "GH200": (96, 4000, 67, 1979 / 2),
    "B200": (180, 8000, 75, 4500 / 2),
    "RTX-A6000": (48, 768, 38.7, 154.8),
    "RTX-4090": (24, 1008, 82.6, 165.2),
    "RTX-PRO-6000": (96, 1597, 120, 4000 / 8),
    "MI250": (128 / 2, 3276.8 / 2, 45.3 / 2, 362.1 / 2),
    "MI300X": (192, 5300, 163.4, 1307.4),
    "Gaudi2": (96, 2460, 5.5, 432),
    "Gaudi3": (128, 3670, 14.35, 1835),
    "Max-1550": (128, 3276.8, 52.4, 838.9),
}


@pytest.mark.parametrize("gpu", CATALOGUE, ids=lambda gpu: gpu.name)
def test_a_card_is_what_its_datasheet_says(gpu):
    found = (gpu.memory_gib, gpu.bandwidth_gb_s, gpu.peak("float32") / 1e12, gpu.peak("float16") / 1e12)
    assert found == pytest.approx(DATASHEETS[gpu.name], rel=1e-9)
    # What a searcher sees of it: the same four, as powers of two, and the rates in GFLOP/s.
    seen = [2**feature for feature in gpu.features()]
    assert seen == pytest.approx([found[0], found[1], 1e3 * found[2], 1e3 * found[3]], rel=1e-9)


def test_a_size_in_a_name_is_the_size():
    sized = [match for gpu in CATALOGUE if (match := re.fullmatch(r".+-(\d+)G", gpu.name))]
    named = {match[0]: int(match[1]) for match in sized}
    assert {"A100-40G", "A100-80G", "V100-32G"} <= named.keys()
    assert {name: find(name).memory_gib for name in named} == named
    # HBM2 of the one, HBM2e of the other (NVIDIA's A100 datasheet).
    assert (find("A100-40G").bandwidth_gb_s, find("A100-80G").bandwidth_gb_s) == (1555, 2039)


def test_known_relations_between_cards():
    def ratio(a, b, precision):
        return find(a).peak(precision) / find(b).peak(precision)

    assert ratio("H200", "H100-SXM", "float16") == 1.0  # same die, other memory
    assert ratio("A100-80G", "A100-40G", "int8") == 1.0
    assert ratio("V100", "V100-32G", "float32") == 1.0
    # tensor cores: 8 of them times 64 multiply-adds a multiprocessor, against 64 ordinary ones
    assert find("V100").peak("float16") / find("V100").peak("float32") == pytest.approx(8, rel=0.01)
    assert find("P100").peak("float16") / find("P100").peak("float32") == pytest.approx(2, rel=0.01)
    assert find("B200").peak("float16") > 2 * find("H200").peak("float16")
    for name in ("T4", "A10", "A10G", "A30", "A100", "L4", "L40S", "H100", "H200", "B200", "RTX-A6000"):
        assert find(name).peak("int8") / find(name).peak("float16") == pytest.approx(2, rel=0.03), name


@pytest.mark.parametrize(
    "product, name",
    [
        ("NVIDIA A100-SXM4-80GB", "A100-80G"),
        ("Tesla T4", "T4"),
        ("NVIDIA H100 80GB HBM3", "H100-SXM"),
        ("nvidia h100 pcie", "H100-PCIe"),
        (" t4 ", "T4"),
        ("A100", "A100-40G"),
        ("Tesla K80", "K80"),
        ("A100-80GB", "A100-80G"),
        ("NVIDIA A100 80GB PCIe", "A100-80G-PCIe"),
        ("NVIDIA A100-SXM-64GB", "A100-64G"),
        ("NVIDIA H100 NVL", "H100-NVL"),
        ("NVIDIA H200 NVL", "H200-NVL"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA H100 80GB HBM2e", "H100-PCIe"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("Tesla V100-PCIE-16GB", "V100-PCIe"),
        ("Tesla V100-PCIE-32GB", "V100-32G-PCIe"),
        ("Tesla V100S-PCIE-32GB", "V100S"),
        ("Tesla P100-PCIE-12GB", "P100-12G"),
        ("Tesla P100-SXM2-16GB", "P100-SXM"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "A100-40G-1g.5gb"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb+me", "A100-40G-1g.5gb"),
        ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb.me", "A100-40G-1g.5gb"),
        ("NVIDIA H200 MIG 1g.18gb+me.all", "H200-1g.18gb"),
        ("RTX-PRO-6000 MIG 1g.24gb-me", "RTX-PRO-6000-1g.24gb"),
        ("RTX-PRO-6000 MIG 4g.96gb+gfx", "RTX-PRO-6000-4g.96gb"),
        ("RTX-PRO-6000 MIG 2g.48gb+me+gfx", "RTX-PRO-6000-2g.48gb"),
        ("NVIDIA A100-SXM4-40GB MIG 1c.3g.20gb", "A100-40G-1c.3g.20gb"),
        ("h100_sxm 2C.7G.80GB", "H100-SXM-2c.7g.80gb"),
        ("NVIDIA A100 80GB PCIe MIG 3g.40gb", "A100-80G-PCIe-3g.40gb"),
        ("NVIDIA H100 80GB HBM3 MIG 2g.20gb", "H100-SXM-2g.20gb"),
        ("H200-1g.18gb", "H200-1g.18gb"),
        ("a100_80g 7g.80gb", "A100-80G-7g.80gb"),
        ("NVIDIA A100-PCIE-40GB", "A100-40G"),
        ("Tesla V100-SXM2-32GB", "V100-32G"),
        ("Tesla P100-PCIE-16GB", "P100"),
        ("l40s", "L40S"),
        ("a100_sxm", "A100-80G"),
        ("h100_sxm", "H100-SXM"),
        ("h200_sxm", "H200"),
        ("b200_sxm", "B200"),
        ("nvidia-h100-80gb", "H100-SXM"),
        ("Nvidia A100 GPU", "A100-40G"),
        ("AMD MI250 GPU", "MI250"),
        ("Habana Gaudi2", "Gaudi2"),
        ("Intel Gaudi 3", "Gaudi3"),
        ("Intel Max 1550", "Max-1550"),
        ("Nvidia GH200 480GB", "GH200"),
        ("NVIDIA GeForce RTX 4090", "RTX-4090"),
    ],
)
def test_find_by_product_name(product, name):
    assert find(product).name == name


@pytest.mark.parametrize(
    "product", ["", "GPU", "L40", "T4 32GB", "RTX 4090 Laptop GPU", "NVIDIA H100 96GB HBM3",
                "NVIDIA A100-SXM4-40GB MIG 9g.5gb", "NVIDIA A100-SXM4-80GB MIG 1g.5gb", "Tesla T4 MIG 1g.5gb",
                "NVIDIA A100-SXM4-40GB MIG 3c.3g.20gb", "NVIDIA A100-SXM4-40GB MIG 0c.3g.20gb",
                "NVIDIA A100-SXM4-40GB MIG 1c.3g.40gb", "NVIDIA A100-SXM4-40GB MIG 1g.5gb+x"]
)  # fmt: skip
def test_a_card_of_another_size_or_kind_is_not_taken_for_one_that_is_known(product):
    with pytest.raises(gpu_names.UnknownGpu):
        find(product)


# Profile, GB, and parts of memory and multiprocessors: the rows of NVIDIA's MIG user guide, "Supported MIG profiles".
MIG = {
    "A30": (("1g.6gb", 1 / 4, 1 / 4), ("2g.12gb", 2 / 4, 2 / 4), ("4g.24gb", 1, 1)),
    "A100-40G": (
        ("1g.5gb", 1 / 8, 1 / 7), ("1g.10gb", 1 / 4, 1 / 7), ("2g.10gb", 2 / 8, 2 / 7), ("3g.20gb", 4 / 8, 3 / 7),
        ("4g.20gb", 4 / 8, 4 / 7), ("7g.40gb", 1, 1),
    ),
    "H100-SXM": (("1g.10gb", 1 / 8, 1 / 7), ("1g.20gb", 1 / 4, 1 / 7), ("3g.40gb", 4 / 8, 3 / 7), ("7g.80gb", 1, 1)),
    "H200": (("1g.18gb", 1 / 8, 1 / 7), ("2g.35gb", 2 / 8, 2 / 7), ("7g.141gb", 1, 1)),
    "RTX-PRO-6000": (("1g.24gb", 1 / 4, 1 / 4), ("2g.48gb", 1 / 2, 1 / 2), ("4g.96gb", 1, 1)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("card", "profile", "memory", "compute"), [(c, *row) for c, rows in MIG.items() for row in rows]
)
def test_a_slice_has_its_parts_of_the_card_as_the_guide_has_them(card, profile, memory, compute):
    whole, part = find(card), find(f"{card}-{profile}")
    assert part.memory_gib == pytest.approx(memory * whole.memory_gib)
    assert part.memory_gib == pytest.approx(float(profile.split(".")[1].removesuffix("gb")), rel=0.05)
    assert part.bandwidth_gb_s == pytest.approx(memory * whole.bandwidth_gb_s)
    assert dict(part.peak_flops) == pytest.approx({name: compute * peak for name, peak in whole.peak_flops.items()})
    assert (part.part_of, part.part) == (card, pytest.approx(max(memory, compute)))
    assert pickle.loads(pickle.dumps(part)) == part and find(part.name) == part


def test_a_compute_instance_shares_the_memory_of_its_gpu_instance_and_costs_its_part_of_it():
    """Three of 1c.3g.20gb fill a 3g.20gb, which costs half a card: it has half the memory and 3/7 of the compute."""
    whole, part = find("A100-40G"), find("A100-40G-1c.3g.20gb")
    assert (part.memory_gib, part.bandwidth_gb_s) == (20, 1555 / 2)
    assert part.peak("float16") == pytest.approx(whole.peak("float16") / 7)
    assert (part.part_of, part.part) == ("A100-40G", pytest.approx(1 / 6))
    assert find(part.name) == part


def test_every_card_that_can_be_cut_is_in_the_catalogue_and_its_slices_have_the_sizes_of_their_names():
    for name in mig._SIZES_GB:
        whole = find(name)
        for profile in mig.profiles(whole):
            size_gb = float(profile.split(".")[1].removesuffix("gb"))
            assert find(f"{name}-{profile}").memory_gib == pytest.approx(size_gb, rel=0.05), (name, profile)
    assert mig.profiles(find("T4")) == {} and mig.slice_of(find("T4"), "1g.5gb") is None


def test_a_profile_that_a_card_has_not_is_answered_with_those_that_it_has():
    with pytest.raises(gpu_names.UnknownGpu, match=r"A100-80G has no MIG profile 1g\.5gb; it has 1g\.10gb, 1g\.20gb"):
        find("NVIDIA A100-SXM4-80GB MIG 1g.5gb")
    with pytest.raises(gpu_names.UnknownGpu, match=r"T4 has no MIG profile 1g\.5gb; it has no slices"):
        find("T4-1g.5gb")


def test_knows_the_names_of_ray():
    for constant in (
        "NVIDIA_TESLA_V100",
        "NVIDIA_TESLA_P100",
        "NVIDIA_TESLA_T4",
        "NVIDIA_TESLA_P4",
        "NVIDIA_TESLA_K80",
        "NVIDIA_TESLA_A10G",
        "NVIDIA_L4",
        "NVIDIA_L40S",
        "NVIDIA_A100",
        "NVIDIA_H100",
        "NVIDIA_H200",
        "NVIDIA_B200",
        "NVIDIA_RTX_PRO_6000",
        "NVIDIA_A100_40G",
        "NVIDIA_A100_80G",
        "AMD_INSTINCT_MI250",
        "AMD_INSTINCT_MI300x",
        "AMD_INSTINCT_MI300x_HF",
    ):
        find(getattr(accelerators, constant))


def test_an_unknown_name_is_answered_with_the_closest():
    with pytest.raises(gpu_names.UnknownGpu, match=r"no GPU 'A100-60GB'.*A100-80G.*cluster/catalogue.py"):
        find("A100-60GB")
    assert gpu_names.canonical("Radeon 9700") == "Radeon 9700"
    assert gpu_names.canonical("tesla t4") == "T4"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a100", ["A100-40G", "A100-80G", "A100-80G-PCIe", "A100-64G"]),
        ("a100_sxm", ["A100-40G", "A100-80G", "A100-64G"]),
        ("NVIDIA H100", ["H100-PCIe", "H100-SXM", "H100-NVL"]),
        ("nvidia-h100-80gb", ["H100-PCIe", "H100-SXM"]),
        ("V100-SXM2", ["V100", "V100-32G"]),
        ("A100 MIG 1g.10gb", ["A100-40G-1g.10gb", "A100-80G-1g.10gb", "A100-80G-PCIe-1g.10gb"]),
    ],
)
def test_a_name_of_several_cards_is_answered_with_all_of_them(written, meant):
    """For Ray's labels one of them is assumed until NVML tells more (`find`); a person can say which."""
    said = f"'{written}' may be {', '.join(meant[:-1])} or {meant[-1]}; write which"
    with pytest.raises(gpu_names.AmbiguousGpu, match=re.escape(said)):
        gpu_names.exact(written)
    assert find(written).name in meant


def test_a_name_of_one_card_is_that_card():
    assert all(gpu_names.exact(gpu.name) is gpu for gpu in CATALOGUE)
    for written, name in {
        "V100": "V100", "p100": "P100", "H200": "H200", "a100 40gb": "A100-40G", "A100 1g.5gb": "A100-40G-1g.5gb",
        "NVIDIA A100-PCIE-40GB": "A100-40G", "NVIDIA H100 80GB HBM3": "H100-SXM", "NVIDIA H100 NVL": "H100-NVL",
        "NVIDIA A100 80GB PCIe": "A100-80G-PCIe", "Tesla V100-SXM2-16GB": "V100", "A10": "A10", "tesla t4": "T4",
        "A6000": "RTX-A6000", "Tesla P100-PCIE-16GB": "P100",
    }.items():  # fmt: skip
        assert gpu_names.exact(written).name == name
    with pytest.raises(gpu_names.UnknownGpu):
        gpu_names.exact("A100-60GB")


def test_features():
    assert FEATURE_NAMES[0] == "log2_gpu_memory_gib"
    assert find("V100").features()[0] == 4.0  # 16 GiB
    assert find("M60").features()[2] == find("M60").features()[3]  # no half rate: float32's
    assert all(len(gpu.features()) == len(FEATURE_NAMES) for gpu in CATALOGUE)
    for column, of_cpu in enumerate(NO_GPU_FEATURES):
        assert of_cpu < min(gpu.features()[column] for gpu in CATALOGUE)


def test_refuses_bad_figures_and_precisions():
    with pytest.raises(ValueError, match="positive"):
        gpus.Gpu("X", -1, 1, {"float32": 1}, (), "")
    with pytest.raises(ValueError, match="float32 peak"):
        gpus.Gpu("X", 1, 1, {"float16": 1}, (), "")
    with pytest.raises(ValueError, match="unknown precision 'fp16'"):
        find("T4").peak("fp16")


def test_travels_and_cannot_be_changed():
    assert pickle.loads(pickle.dumps(find("T4"))) == find("T4")
    peaks: Any = find("T4").peak_flops
    with pytest.raises(TypeError):
        peaks["float32"] = 1.0
