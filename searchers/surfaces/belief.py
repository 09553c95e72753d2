"""Ensemble of surfaces that a service could have, drawn before its first trial.

A network f(x, z) has learned from many services, most of which exist only as formulas, how rates and latencies change
with a configuration x; the latents z identify the service. Draws of z, given what is known about a new service, are
plausible services: the mean of their surfaces is a prior mean for a search, their covariance a prior covariance. This
is an auto-decoder (Park et al. 2019, "DeepSDF") or latent-variable meta-model (Sæmundsson et al. 2018). Only the shape
carries over; the level is the new service's own, so each surface is centred.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from searchers.pretrained import weights_file
from searchers.quantities import ROLES
from searchers.space import Space
from searchers.surfaces.families import Families, latent_mean
from searchers.surfaces.inputs import Inputs
from searchers.surfaces.net import SurfaceWeights, surface

PRETRAINED = Path(__file__).parent.parent / "pretrained" / "surfaces.safetensors"
_KIND = weights_file.FileKind("surface_model", "surfaces", "raytune-infer meta-train --model surfaces")


@dataclass(frozen=True)
class Surfaces:
    """Surfaces of M plausible services over the n configurations of a space.

    Args:
        log: role → `[M, n]` natural logarithm of the quantity, each surface centred to mean 0 over the space.
        runs: `[M, n]` logit of "can run".
        known: columns of the space that the model knows; if there are none, the surfaces carry no information.
    """

    log: Mapping[str, np.ndarray]
    runs: np.ndarray
    known: tuple[str, ...]


@dataclass(frozen=True)
class SurfaceModel:
    """Trained surface network with its inputs and the distribution of its latents.

    Args:
        weights: weights of `net.surface` and of `families.latent_mean`.
        inputs: names and standardisation of columns and facts.
        families: families of services, with the distribution of z in each.
        card: description of the training (data, procedure, date, seed, figures); anything that JSON can hold.

    Raises:
        ValueError: the weights do not match the columns, facts or latents.
    """

    weights: SurfaceWeights
    inputs: Inputs
    families: Families
    card: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        takes = (self.weights["x0"].shape[0], self.weights["m0"].shape[0], self.weights["z0"].shape[0])
        needs = (
            2 * len(self.inputs.columns), len(self.inputs.facts) + len(self.families),
            self.families.latent_mean.shape[1],
        )  # fmt: skip
        if takes != needs:
            raise ValueError(f"the weights expect input sizes {takes} for columns, facts and latents; got {needs}")

    def sample(self, space: Space, facts: Mapping[str, float], samples: int, rng: np.random.Generator) -> Surfaces:
        """Draw surfaces that a service could have.

        Args:
            space: the service's configurations; columns are matched by name, unknown ones are ignored.
            facts: what is known about the service; any may be missing.
            samples: M, the number of surfaces.
            rng: source of all random numbers; the same state gives the same surfaces.

        Raises:
            ValueError: a fact is not positive.
        """
        z = torch.from_numpy(self.latents(space.columns, facts, samples, rng)).float()
        x = torch.from_numpy(self.inputs.of_space(space.features, space.columns)).float()
        with torch.no_grad():
            out = surface(self.weights, x, z).numpy().astype(float)
        centred = out - out.mean(axis=1, keepdims=True)
        known = self.inputs.known(space.columns)
        return Surfaces({role: centred[..., i] for i, role in enumerate(ROLES)}, out[..., -1], known)

    def latents(
        self, columns: tuple[str, ...], facts: Mapping[str, float], samples: int, rng: np.random.Generator
    ) -> np.ndarray:
        """`[M, Z]` draws of z: for each a family, then the missing facts, then the part that facts do not determine."""
        u = self.inputs.of_facts(facts)
        has = np.array([column in columns for column in self.inputs.columns])
        family = rng.choice(len(self.families), samples, p=self.families.probabilities(has, u))
        fact_noise = rng.standard_normal((samples, len(u)))
        rest_noise = rng.standard_normal((samples, self.families.latent_mean.shape[1]))
        z = np.zeros_like(rest_noise)
        for g in range(len(self.families)):
            at = family == g
            complete = self.families.complete(u, g, fact_noise[at])
            z[at] = self.mean_latents(complete, g) + self.families.rest(g, rest_noise[at])
        return z

    def mean_latents(self, u: np.ndarray, family: int) -> np.ndarray:
        """`[m, Z]` m(u, family) for complete facts u `[m, F]`."""
        one_hot = torch.zeros(len(u), len(self.families))
        one_hot[:, family] = 1
        with torch.no_grad():
            return latent_mean(self.weights, torch.from_numpy(u).float(), one_hot).numpy().astype(float)

    def save(self, path: Path) -> None:
        """Write one safetensors file; names and card are JSON in its header."""
        tensors = {f"weights.{name}": value for name, value in self.weights.items()}
        for part in ("inputs", "families"):
            arrays = {k: v for k, v in asdict(getattr(self, part)).items() if isinstance(v, np.ndarray)}
            tensors |= {f"{part}.{name}": torch.from_numpy(array.copy()) for name, array in arrays.items()}
        about = {"columns": self.inputs.columns, "facts": self.inputs.facts, "card": dict(self.card)}
        weights_file.write(path, _KIND, tensors, about)

    @classmethod
    def load(cls, path: Path) -> SurfaceModel:
        """Read what `save` wrote.

        Raises:
            ValueError: there is no such file, or it holds no surfaces.
        """
        tensors, about = weights_file.read(path, _KIND)
        arrays = {
            part: {name: value.numpy() for name, value in weights_file.part(tensors, part).items()}
            for part in ("inputs", "families")
        }
        return cls(
            weights=weights_file.part(tensors, "weights"),
            inputs=Inputs(columns=tuple(about["columns"]), facts=tuple(about["facts"]), **arrays["inputs"]),
            families=Families(**{f.name: arrays["families"][f.name] for f in fields(Families)}),
            card=about["card"],
        )


@cache
def pretrained() -> SurfaceModel:
    """The model that ships with the package; its card says what it was trained on."""
    return SurfaceModel.load(PRETRAINED)
