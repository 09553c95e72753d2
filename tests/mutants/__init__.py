"""Single faults put into the code on purpose, to see whether the tests notice: `python -m tests.mutants`.

`areas` says which code is judged, `sampling` draws faults at random, `named` reads those that someone thought of,
`mirrors` finds the tests of a module, `trying` runs them with a fault in place, `report` counts what was noticed.
"""
