"""What the parts of a service.yaml have in common: their base class, and the types of their values."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MOST = 10**9
"""Largest number in a service.yaml. Our choice: 30 years in seconds; every database and every clock can hold it."""

Text = Annotated[str, Field(min_length=1, max_length=1000)]  # for names and paths; a longer text is a mistake
Count = Annotated[int, Field(ge=1, le=MOST)]
Seconds = Annotated[float, Field(gt=0, le=MOST, strict=False)]


class Part(BaseModel):
    """Base class of the parts of a specification: unknown keys are errors, types are not converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
