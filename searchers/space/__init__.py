"""The finite space of configurations: knobs, the combinations that are allowed, and their features."""

from searchers.space.condition import Condition
from searchers.space.knob import Config, Knob, typed
from searchers.space.space import Space
from searchers.space.value import Value

__all__ = ["Condition", "Config", "Knob", "Space", "Value", "typed"]
