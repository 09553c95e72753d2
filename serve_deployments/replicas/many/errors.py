"""What can go wrong with a request for one of many models, apart from what its model raises."""

from __future__ import annotations


class UnknownModel(LookupError):
    """No model of this name is served, or it was withdrawn while the request waited."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ReplicaLost(RuntimeError):
    """The process of a replica has ended, or another one has taken its place and holds nothing."""


class NoReplica(RuntimeError):
    """No replica is running, or each that took the request was lost; it can be sent again."""


class NotTogether(ValueError):
    """Models that cannot be served by the same processes; the message says by what they differ."""
