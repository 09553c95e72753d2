"""Studies, trials and levels in a database, and the folder of a run: the only place that serialises them."""
