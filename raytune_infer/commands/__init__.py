"""The command line: each command parses, calls and shows; nothing else is done here."""
