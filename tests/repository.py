"""Where the repository is: tests read its pages, examples and measured tables."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
