"""What a study leaves in files: its results, and the config to deploy, with what is checked before one is written."""
