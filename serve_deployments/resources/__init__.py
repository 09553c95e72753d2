"""What a replica may use, whether that is enforced, and what it used."""
