"""Export of a recommendation: the config to deploy, and what is checked before one is written."""
