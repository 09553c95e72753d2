"""Prior knowledge of searchers: earlier studies, emulated services, and the training of the shipped models."""
