"""Where searchers learn from: emulated services, earlier studies, `meta-train`."""
