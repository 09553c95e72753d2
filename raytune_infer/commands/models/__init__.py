"""Commands that ask something of services' models themselves."""
