"""Output for people: tables, drawings and files of a study, a ranking, a replay or a cluster."""
