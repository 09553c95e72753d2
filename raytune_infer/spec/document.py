"""The YAML documents of the application: what is wrong with one is the user's to mend."""

from __future__ import annotations

from cluster import document
from cluster.document import dotted, kind_of, shown
from raytune_infer.errors import SpecError

__all__ = ["Document", "dotted", "kind_of", "shown"]


class Document(document.Document):
    """A service.yaml, or any other YAML of the application's; its errors are SpecErrors."""

    error = SpecError
