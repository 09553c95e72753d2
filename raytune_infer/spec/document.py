"""YAML documents of the application, whose errors the user can fix."""

from __future__ import annotations

from cluster import document
from cluster.document import dotted, kind_of, shown
from raytune_infer.errors import SpecError

__all__ = ["Document", "dotted", "kind_of", "shown"]


class Document(document.Document):
    """A service.yaml or another YAML file of the application; its errors are SpecErrors."""

    error = SpecError
    plain = True  # the database keeps samples' sources, arguments and knobs as JSON
