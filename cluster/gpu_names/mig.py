"""Slices of a GPU by MIG (Multi-Instance GPU): each with memory, bandwidth and compute of its own.

Profiles and their parts of a card are those of NVIDIA's MIG user guide, "Supported MIG profiles": a profile
`3g.20gb` has three of the card's compute slices, and as many of its memory slices as make 20 GB. Such a GPU instance
may be divided further into compute instances, which share its memory: `1c.3g.20gb` has one of its three slices.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cluster.gpus import Gpu


@dataclass(frozen=True)
class _Cut:
    """How cards are cut.

    Attributes:
        compute: number of a card's compute slices.
        memory: number of its memory slices.
        parts: compute and memory slices of each profile.
    """

    compute: int
    memory: int
    parts: tuple[tuple[int, int], ...]


_SEVEN = _Cut(7, 8, ((1, 1), (1, 2), (2, 2), (3, 4), (4, 4), (7, 8)))
_FOUR = _Cut(4, 4, ((1, 1), (2, 2), (4, 4)))

_SIZES_GB: Mapping[str, tuple[_Cut, tuple[int, ...]]] = {
    "A30": (_FOUR, (6, 12, 24)),
    "A100-40G": (_SEVEN, (5, 10, 10, 20, 20, 40)),
    "A100-80G": (_SEVEN, (10, 20, 20, 40, 40, 80)),
    "A100-80G-PCIe": (_SEVEN, (10, 20, 20, 40, 40, 80)),
    "H100-PCIe": (_SEVEN, (10, 20, 20, 40, 40, 80)),
    "H100-SXM": (_SEVEN, (10, 20, 20, 40, 40, 80)),
    "H100-NVL": (_SEVEN, (12, 24, 24, 47, 47, 94)),
    "GH200": (_SEVEN, (12, 24, 24, 48, 48, 96)),
    "H200": (_SEVEN, (18, 35, 35, 71, 71, 141)),
    "H200-NVL": (_SEVEN, (18, 35, 35, 71, 71, 141)),
    "B200": (_SEVEN, (23, 45, 45, 90, 90, 180)),
    "RTX-PRO-6000": (_FOUR, (24, 48, 96)),
}
"""Card → how it is cut, and the size in the name of each profile."""


def profiles(card: Gpu) -> dict[str, tuple[float, float]]:
    """Name of each profile of a card → its part of the compute and of the memory; empty for a card without MIG."""
    if card.name not in _SIZES_GB:
        return {}
    cut, sizes_gb = _SIZES_GB[card.name]
    return {
        f"{compute}g.{size_gb}gb": (compute / cut.compute, memory / cut.memory)
        for (compute, memory), size_gb in zip(cut.parts, sizes_gb, strict=True)
    }


_DIVIDED = re.compile(r"(?P<own>\d)c\.(?P<instance>(?P<compute>\d)g\..+)")
"""Profile of a compute instance that has only a part of the compute of its GPU instance."""


def slice_of(card: Gpu, profile: str) -> Gpu | None:
    """The slice of a card by this profile (`1g.5gb`, `1c.3g.20gb`); None if it has none such.

    A GPU instance costs the larger of its parts of the card. A compute instance in it costs its part of that, and has
    all the memory and bandwidth, as long as the others leave them.
    """
    divided = _DIVIDED.fullmatch(profile)
    instance, own = (divided["instance"], int(divided["own"]) / int(divided["compute"])) if divided else (profile, 1.0)
    if instance not in (found := profiles(card)) or (divided and not 0 < own < 1):
        return None
    compute, memory = found[instance]
    return Gpu(
        f"{card.name}-{profile}",
        memory * card.memory_gib,
        memory * card.bandwidth_gb_s,
        {precision: own * compute * peak for precision, peak in card.peak_flops.items()},
        (),
        f"{card.source}; parts: NVIDIA MIG user guide, supported profiles",
        part_of=card.name,
        part=own * max(compute, memory),
    )
