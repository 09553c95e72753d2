"""What a replica can do: load at chosen rates until the number is sure."""
