"""The twelve models of `planes`, in plain torch with random weights."""
