"""Finds a GPU in the catalogue by any of its names: ours, Ray's, NVML's, or another spelling of one of these."""

import difflib
import re
from dataclasses import dataclass

from cluster.catalogue import CATALOGUE
from cluster.gpu_names.mig import profiles, slice_of
from cluster.gpus import Gpu

_MAKERS = frozenset("nvidia amd intel habana tesla geforce instinct data center gpu accelerator".split())
"""Words of a product's name that do not distinguish one card from another."""

_FORMS = ("sxm", "pcie", "oam")
"""Form factors: part of a card's name only where its forms differ, as the H100's do."""


_SLICE = re.compile(
    r"(?P<card>.+?)[ _-]+(?:mig[ _-]+)?(?P<profile>(?:\d+c\.)?\d+g\.\d+gb)(?:[+.-](?:me|gfx)(?:\.all)?)*", re.IGNORECASE
)
"""Name of a card and of a MIG profile, as in NVML's `NVIDIA A100-SXM4-40GB MIG 1g.5gb` and in ours. What follows are
media engines and graphics, which no service uses: `+me`, `+me.all`, `-me`, `+gfx`, and `.me` as Kubernetes has it."""


_NVL = "nvl"
"""Another form, with more memory: the catalogue takes it for a part of the model."""


class UnknownGpu(ValueError):
    """A GPU name that is not in the catalogue."""


class AmbiguousGpu(ValueError):
    """A GPU name that several cards of the catalogue have."""


@dataclass(frozen=True)
class _Spelling:
    """The parts of a GPU's name that matter, without case, separators, makers and the order of form and size.

    Attributes:
        model: everything except form and size, joined: `a100`, `rtx4090`.
        form: one of `_FORMS`; empty if the name has none.
        gib: memory size in GiB; 0 if the name has none.
    """

    model: str
    form: str = ""
    gib: int = 0


def _spelling(name: str) -> _Spelling:
    """`NVIDIA A100-SXM4-80GB`, `a100_sxm_80g` → model a100, form sxm, 80 GiB."""
    model, form, gib = "", "", 0
    for word in re.findall(r"[a-z0-9.]+", name.lower()):
        if word in _MAKERS:
            continue
        size = re.fullmatch(r"(\d{1,4})g(i?b)?", word)
        mounted = next((f for f in _FORMS if re.fullmatch(f + r"\d?", word)), "")
        if size and model and not gib:
            gib = int(size[1])
        elif mounted and not form:
            form = mounted
        else:
            model += word
    return _Spelling(model, form, gib)


_BY_SPELLING: dict[_Spelling, Gpu] = {_spelling(n): gpu for gpu in CATALOGUE for n in (gpu.name, *gpu.aliases)}


def known(name: str) -> Gpu | None:
    """The GPU of that name, the most specific spelling tried first; None if there is none of the size in the name."""
    if (part := _SLICE.fullmatch(name.strip())) is not None:
        card = _whole(part["card"])
        return None if card is None else slice_of(card, part["profile"].lower())
    return _whole(name)


def _whole(name: str) -> Gpu | None:
    asked = _spelling(name)
    for form, gib in ((asked.form, asked.gib), ("", asked.gib), (asked.form, 0), ("", 0)):
        gpu = _BY_SPELLING.get(_Spelling(asked.model, form, gib))
        if gpu is not None and (gib or not asked.gib or gpu.memory_gib == asked.gib):
            return gpu
    return None


def find(name: str) -> Gpu:
    """The GPU of that name or alias, however it is spelled: `A100-80G`, `NVIDIA A100-SXM4-80GB`, `h100_sxm`.

    Raises:
        UnknownGpu: there is no such GPU; the message names the closest ones.
    """
    gpu = known(name)
    if gpu is not None:
        return gpu
    part = _SLICE.fullmatch(name.strip())
    if part is not None and (card := _whole(part["card"])) is not None:
        offered = ", ".join(profiles(card)) or "no slices"
        raise UnknownGpu(f"{card.name} has no MIG profile {part['profile']}; it has {offered}; use one of them")
    name = name if len(name) <= 60 else name[:59] + "…"
    by_name = {n.lower(): gpu.name for gpu in CATALOGUE for n in (gpu.name, *gpu.aliases)}
    close = difflib.get_close_matches(name.strip().lower(), by_name, n=8, cutoff=0.4)
    there = sorted({by_name[match] for match in close}) or [gpu.name for gpu in CATALOGUE]
    raise UnknownGpu(
        f"no GPU {name!r} in the catalogue; {'closest are' if close else 'there are'} "
        f"{', '.join(there)}; use one of them or add its datasheet to cluster/catalogue.py"
    )


def exact(name: str) -> Gpu:
    """The GPU that somebody means who has written this name: as `find`, but it may stand for one card alone.

    Ray's "A100" is taken for the smaller card until NVML has named it; who writes `A100` may have any of four.

    Raises:
        UnknownGpu: there is no such GPU.
        AmbiguousGpu: there are several; the message names them.
    """
    found = find(name)
    if len(meant := _meant(name)) > 1:
        raise AmbiguousGpu(
            f"{name.strip()!r} may be {', '.join(meant[:-1])} or {meant[-1]}; write which (`raytune-infer cluster` "
            "shows those of a cluster)"
        )
    return found


def _meant(name: str) -> list[str]:
    """Names of the cards, or of their slices, that a name may stand for, as it leaves out their size or form."""
    part = _SLICE.fullmatch(name.strip())
    asked = _spelling(name if part is None else part["card"])
    cards = [card for card in CATALOGUE if _spelling(card.name) == asked] or [
        card for card in CATALOGUE if _may_be(card, asked)
    ]
    if part is None:
        return [card.name for card in cards]
    slices = (slice_of(card, part["profile"].lower()) for card in cards)
    return [each.name for each in slices if each is not None]


def _may_be(card: Gpu, asked: _Spelling) -> bool:
    """Whether a name that is not the card's own may be one of it."""
    own = _spelling(card.name)
    form = _NVL if own.model.endswith(_NVL) else own.form
    return (
        own.model.removesuffix(_NVL) == asked.model
        and (not asked.form or form in ("", asked.form))
        and (not asked.gib or card.memory_gib == asked.gib)
    )


def canonical(name: str) -> str:
    """The catalogue's name for a GPU; the given name, stripped, where the catalogue has no such GPU."""
    gpu = known(name)
    return name.strip() if gpu is None else gpu.name
