"""What the Tuners of test_tune run. Apart from it, so that a worker imports Tune only, and neither pytest nor torch."""

from ray import tune


def measure(config):
    nested = config.get("nested", config)
    tune.report({"rps": config["a"] * (1 + (nested["b"] == "y")), "note": "text"})


def fragile(config):
    if config["a"] == 4:
        raise RuntimeError("out of memory")
    tune.report({"latency": float("nan") if config["a"] == 2 else 5.0, "constant": config["nested"]["constant"]})


def negative(config):
    tune.report({"score": -float(config["a"])})
    tune.report({"note": 1.0})
