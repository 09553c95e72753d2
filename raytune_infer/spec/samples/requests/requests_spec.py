"""The schema of `requests` in service.yaml: requests to a language model, from a file or drawn from distributions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from raytune_infer.spec.parts import Count, Part, Text
from raytune_infer.spec.samples.requests.drawn_lengths import DrawnRequests, Lengths

Tokens = Annotated[int, Field(ge=1, le=1_000_000)]


class LengthsSpec(Part):
    """A distribution of numbers of tokens; see `Lengths`."""

    mean: float = Field(ge=1, le=1_000_000, strict=False)
    cv: float = Field(default=0.0, ge=0, le=10, strict=False)
    least: Tokens = 1
    most: Tokens = 1_000_000

    @model_validator(mode="after")
    def _in_order(self) -> LengthsSpec:
        if self.least > self.most:
            raise ValueError(f"`least` is {self.least}, above `most`, {self.most}; exchange them")
        return self

    @property
    def lengths(self) -> Lengths:
        """The distribution."""
        return Lengths(self.mean, self.cv, self.least, self.most)


class DrawnSpec(Part):
    """Requests whose lengths are drawn; see `DrawnRequests`."""

    tokens_in: Tokens | LengthsSpec
    tokens_out: Tokens | LengthsSpec
    prefix_tokens: int = Field(default=0, ge=0, le=1_000_000)
    prefixes: Count = 1
    turns: Annotated[int, Field(ge=1, le=1000)] = 1

    def drawn(self, seed: int) -> DrawnRequests:
        """The requests."""
        lengths_in, lengths_out = _lengths(self.tokens_in), _lengths(self.tokens_out)
        return DrawnRequests(lengths_in, lengths_out, self.prefix_tokens, self.prefixes, self.turns, seed)


def _lengths(of: int | LengthsSpec) -> Lengths:
    return Lengths(of) if isinstance(of, int) else of.lengths


class RequestsSpec(Part):
    """Requests to a language model: a file of one of the known forms, or `lengths` to draw them from."""

    openai: Text | None = None
    sharegpt: Text | None = None
    sharegpt_turns: Text | None = None
    mooncake: Text | None = None
    burstgpt: Text | None = None
    azure: Text | None = None
    lengths: DrawnSpec | None = None
    count: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    output: Literal["fixed", "free"] | Tokens = "fixed"
    seed: int = Field(default=0, ge=0)
    tokenizer: Text | None = None

    @model_validator(mode="after")
    def _one_source(self) -> RequestsSpec:
        given = [name for name in (*FILES, "lengths") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"give one of {', '.join((*FILES, 'lengths'))}; there is {found}")
        return self

    @property
    def file(self) -> tuple[str, str] | None:
        """The kind of file and its name; None if the requests are drawn."""
        return next(((kind, name) for kind in FILES if (name := getattr(self, kind)) is not None), None)


FILES = ("openai", "sharegpt", "sharegpt_turns", "mooncake", "burstgpt", "azure")
"""Keys that name a file, each of the form of its key."""
