"""How one model becomes another one: operators, ways, prices; plans are data."""
