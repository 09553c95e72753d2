"""The catalogue of GPUs: the datasheet figures of each card, and those of a CPU core on the same scales.

Figures are for one device as Ray and NVML count it: a K80 and an M60 board hold two, and an MI250 module appears as two
dies. Peaks are dense (no structured sparsity): tensor or matrix cores for 16 bit and int8 where the card has them,
ordinary cores for float32. Where a datasheet prints only the sparse rate, half of it is used.
"""

from cluster.gpus import Gpu


def _card(name: str, memory_gib: float, bandwidth_gb_s: float, source: str, *aliases: str, **tflop_s: float) -> Gpu:
    return Gpu(name, memory_gib, bandwidth_gb_s, {key: rate * 1e12 for key, rate in tflop_s.items()}, aliases, source)


# fmt: off
CATALOGUE: tuple[Gpu, ...] = (
    _card("K80", 12, 240,
          "NVIDIA Tesla K80 board specification BD-07317-001: half of 24 GB, 480 GB/s, 8.74 TFLOP/s with boost; one "
          "GK210 die",
          float32=4.37),
    _card("M60", 8, 160,
          "NVIDIA Tesla M60 product brief PB-07400-001: half of 16 GB, 320 GB/s, 9.65 TFLOP/s with boost; one GM204 "
          "die",
          float32=4.825),
    _card("P4", 8, 192, "NVIDIA Tesla P4 datasheet: nvidia.com/tesla-p4", float32=5.5, int8=22),
    # The PCIe card, which clouds offer.
    _card("P100", 16, 732, "NVIDIA Tesla P100 PCIe datasheet, 16 GB", float32=9.3, float16=18.7),
    _card("P100-12G", 12, 549, "NVIDIA Tesla P100 PCIe datasheet, 12 GB", float32=9.3, float16=18.7),
    _card("P100-SXM", 16, 732, "NVIDIA Tesla P100 datasheet, for NVLink (SXM2)", float32=10.6, float16=21.2),
    # Ray's "V100" is taken for the SXM2 module.
    _card("V100", 16, 900, "NVIDIA V100 datasheet (SXM2, 16 GB): nvidia.com/v100", float32=15.7, float16=125),
    _card("V100-32G", 32, 900, "NVIDIA V100 datasheet (SXM2, 32 GB): nvidia.com/v100", "Tesla V100-DGXS-32GB",
          float32=15.7, float16=125),
    _card("V100-PCIe", 16, 900, "NVIDIA V100 datasheet (PCIe, 16 GB): nvidia.com/v100", float32=14, float16=112),
    _card("V100-32G-PCIe", 32, 900, "NVIDIA V100 datasheet (PCIe, 32 GB): nvidia.com/v100", float32=14, float16=112),
    _card("V100S", 32, 1134, "NVIDIA V100 datasheet (V100S PCIe): nvidia.com/v100", float32=16.4, float16=130),
    _card("T4", 16, 320, "NVIDIA T4 datasheet: nvidia.com/t4", float32=8.1, float16=65, int8=130),
    _card("A10", 24, 600, "NVIDIA A10 datasheet: nvidia.com/a10", float32=31.2, float16=125, bfloat16=125, int8=250),
    _card("A10G", 24, 600, "NVIDIA A10G datasheet (the A10 of EC2 G5)", float32=35, float16=70, bfloat16=70, int8=140),
    _card("A30", 24, 933, "NVIDIA A30 datasheet: nvidia.com/a30", float32=10.3, float16=165, bfloat16=165, int8=330),
    # Ray labels both sizes "A100": until NVML has named the card, the smaller one is assumed.
    _card("A100-40G", 40, 1555, "NVIDIA A100 datasheet, 40 GB: nvidia.com/a100", "A100",
          float32=19.5, float16=312, bfloat16=312, int8=624),
    # SXM. A module named without its size is taken for this one: today's datasheet has no smaller one.
    _card("A100-80G", 80, 2039, "NVIDIA A100 datasheet, 80 GB SXM: nvidia.com/a100", "A100-SXM",
          float32=19.5, float16=312, bfloat16=312, int8=624),
    _card("A100-80G-PCIe", 80, 1935, "NVIDIA A100 datasheet, 80 GB PCIe: nvidia.com/a100",
          float32=19.5, float16=312, bfloat16=312, int8=624),
    # Made for one supercomputer: 124 multiprocessors where the others have 108, at the same clock.
    _card("A100-64G", 64, 1638.4,
          "Turisini et al. 2023 (Leonardo), arXiv 2307.16885; tensor rates: 124 / 108 of the A100's",
          float32=22.4, float16=358.2, bfloat16=358.2, int8=716.4),
    _card("L4", 24, 300, "NVIDIA L4 datasheet: nvidia.com/l4; sparse rates halved",
          float32=30.3, float16=121, bfloat16=121, int8=242.5),
    _card("L40S", 48, 864, "NVIDIA L40S datasheet: nvidia.com/l40s",
          float32=91.6, float16=362.05, bfloat16=362.05, int8=733),
    # Of the cards of 80 GB only this one has HBM2e.
    _card("H100-PCIe", 80, 2000, "NVIDIA H100 datasheet, PCIe, 80 GB; sparse rates halved", "H100 80GB HBM2e",
          float32=51, float16=756.5, bfloat16=756.5, int8=1513),
    # Ray's "H100" is taken for the SXM module, the form in nearly all clouds; on real nodes NVML names the form.
    _card("H100-SXM", 80, 3350,
          "NVIDIA H100 datasheet, SXM5, 80 GB: nvidia.com/h100; sparse rates halved", "H100", "H100 80GB HBM3",
          float32=67, float16=989.5, bfloat16=989.5, int8=1979),
    _card("H100-NVL", 94, 3900, "NVIDIA H100 datasheet, NVL, one card of 94 GB: nvidia.com/h100; sparse rates halved",
          float32=60, float16=835.5, bfloat16=835.5, int8=1670.5),
    _card("H200-NVL", 141, 4800, "NVIDIA H200 datasheet, NVL: nvidia.com/h200; sparse rates halved",
          float32=60, float16=835.5, bfloat16=835.5, int8=1670.5),
    _card("H200", 141, 4800, "NVIDIA H200 datasheet, SXM: nvidia.com/h200; sparse rates halved",
          float32=67, float16=989.5, bfloat16=989.5, int8=1979),
    _card("GH200", 96, 4000,
          "NVIDIA GH200 datasheet, 96 GB HBM3 (480 GB are the CPU's): nvidia.com/gh200; sparse rates halved",
          "GH200 480GB",
          float32=67, float16=989.5, bfloat16=989.5, int8=1979),
    _card("B200", 180, 8000, "NVIDIA HGX B200 datasheet, an eighth of the system; sparse rates halved",
          float32=75, float16=2250, bfloat16=2250, int8=4500),
    _card("RTX-A6000", 48, 768, "NVIDIA RTX A6000 datasheet; Ampere GA102 whitepaper for the dense rates", "A6000",
          float32=38.7, float16=154.8, bfloat16=154.8, int8=309.7),
    # Rates with float32 accumulation, which frameworks ask for; with float16 accumulation they are twice as high.
    _card("RTX-4090", 24, 1008,
          "NVIDIA GeForce RTX 4090; Ada GPU architecture whitepaper, appendix A, for the dense rates",
          float32=82.6, float16=165.2, bfloat16=165.2, int8=660.6),
    # Server edition, which clouds offer. The datasheet's 4 PFLOP/s of sparse FP4 is 8x dense 16 bit, 4x int8.
    _card("RTX-PRO-6000", 96, 1597,
          "NVIDIA RTX PRO 6000 Blackwell Server Edition datasheet; rates from FP4",
          "RTX PRO 6000 Blackwell Server Edition",
          float32=120, float16=500, bfloat16=500, int8=1000),
    _card("MI250", 64, 1638.4,
          "AMD Instinct MI250 datasheet: half of 128 GB, 3.28 TB/s, 45.3 and 362.1 TFLOP/s; one die (GCD)",
          "AMD-Instinct-MI250X-MI250",
          float32=22.65, float16=181.05, bfloat16=181.05, int8=181.05),
    _card("MI300X", 192, 5300, "AMD Instinct MI300X datasheet", "AMD-Instinct-MI300X-HF",
          float32=163.4, float16=1307.4, bfloat16=1307.4, int8=2614.9),
    # Intel prints one rate for 16 bit, measured in bfloat16, and none for float32: we take half the bfloat16 rate of
    # the vector engines (11 and 28.7 TFLOP/s), whose lanes are then twice as wide.
    _card("Gaudi2", 96, 2460, "Intel Gaudi 3 white paper, table of generations",
          float32=5.5, float16=432, bfloat16=432),
    _card("Gaudi3", 128, 3670, "Intel Gaudi 3 white paper; Kaplan, Hot Chips 2024",
          float32=14.35, float16=1835, bfloat16=1835),
    # The whole card; a driver that shows its two stacks as devices shows halves of it.
    _card("Max-1550", 128, 3276.8,
          "Intel Data Center GPU Max 1550 product page: 128 Xe cores at 1.6 GHz; a core has 256 float32, 4096 16-bit "
          "and 8192 int8 operations a cycle (Xe HPC overview)",
          float32=52.4, float16=838.9, bfloat16=838.9, int8=1677.7),
)
# fmt: on

# One core of c6g.4xlarge, the CPU instance of the Morphling paper (SoCC 2021): 32 GiB for 16 cores; 8
# channels of DDR4-3200 for the chip's 64; two 128-bit FMA pipes at 2.5 GHz do 16 FLOP a cycle, and sdot 64
# operations (AWS Graviton2, Arm Neoverse N1 software optimisation guide). A Gpu because it has the same figures.
CPU_CORE = Gpu("CPU core", 2.0, 3.2, {"float32": 40e9, "int8": 160e9}, (), "AWS Graviton2; Arm Neoverse N1")

# A CPU is the low end of the same scales rather than a missing value: its features are finite and order it below
# every GPU. It is one core, because the number of cores is a knob of its own.
NO_GPU_FEATURES: tuple[float, ...] = CPU_CORE.features()
