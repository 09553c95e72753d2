"""What a person looks at: tables, drawings and files of a study, a ranking, a replay or a cluster."""
