"""What is said beside the numbers: sentences, without a rule of ranking and without markup."""
