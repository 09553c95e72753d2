"""Live models of a process: structures that are kept, memory that they point at, conversions."""
