"""Emulated suites, whose services are formulas: odd knobs, more of them than tables have, and few that count."""
