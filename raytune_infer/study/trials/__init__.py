"""What belongs to a trial: its run, its log, and what is recorded of it."""
