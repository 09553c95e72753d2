"""What a study survives, and what it leaves behind."""
