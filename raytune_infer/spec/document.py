"""YAML documents of the application, whose errors the user can fix."""

from __future__ import annotations

from cluster import document
from cluster.document import dotted, kind_of, shown
from raytune_infer.errors import SpecError

__all__ = ["Document", "RecordedDocument", "dotted", "kind_of", "shown"]


class Document(document.Document):
    """A service.yaml or another YAML file of the application; its errors are SpecErrors."""

    error = SpecError
    plain = True  # the database keeps samples' sources, arguments and knobs as JSON


class RecordedDocument(Document):
    """A service.yaml as a run has recorded it: it was accepted when the run began, and must stay readable."""

    strict = plain = False
