"""Errors that the user can fix; the command line prints them without a traceback.

UserError
├── SpecError       service.yaml is invalid
├── SuiteError      a suite of measured tables is malformed, or lacks what was asked for
├── NothingFits     no configuration of the space fits on any node
├── RunError        a run's folder or database cannot be used as asked
└── AllFailed       every trial failed, so there is nothing to recommend
"""


class UserError(ValueError):
    """An error that the user can fix; its message says what was asked, what there is, and the remedy."""


class SpecError(UserError):
    """service.yaml is invalid; the message names the place."""


class SuiteError(UserError):
    """A suite of measured tables is malformed, or lacks what was asked for; the message names the place."""


class NothingFits(UserError):
    """No configuration of the space fits on any node."""


class RunError(UserError):
    """A run's folder or database cannot be used as asked."""


class AllFailed(UserError):
    """Every trial failed, so there is nothing to recommend."""
