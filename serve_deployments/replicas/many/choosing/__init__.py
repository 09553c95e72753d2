"""Which replica serves a request: what is known, what it costs, and the policy. Pure functions of data, without Ray."""
