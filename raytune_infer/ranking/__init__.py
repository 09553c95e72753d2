"""What was measured, asked again under other limits, goals and prices, without a new trial."""
