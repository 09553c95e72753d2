"""`recommend`: a finished study ranked again under other limits and prices, without a new trial."""
