"""Errors that the user can mend; the command line prints them without a traceback.

UserError
├── SpecError       service.yaml says something that cannot be
├── SuiteError      a suite of measured tables is malformed, or lacks what was asked for
├── NothingFits     no configuration of the space fits on any node
├── RunError        a run's folder or database is not what was asked for
└── AllFailed       every trial failed, so there is nothing to recommend
"""


class UserError(ValueError):
    """What was asked, what there is, and the remedy."""


class SpecError(UserError):
    """service.yaml says something that cannot be; the message names the place."""


class SuiteError(UserError):
    """A suite of measured tables is malformed, or lacks what was asked for; the message names the place."""


class NothingFits(UserError):
    """No configuration of the space fits on any node."""


class RunError(UserError):
    """A run's folder or database is not what was asked for."""


class AllFailed(UserError):
    """Every trial failed, so there is nothing to recommend."""
