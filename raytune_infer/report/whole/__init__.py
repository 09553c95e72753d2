"""The report that people pass on: a view of everything that is known of a run, one module for each section."""
