"""The model of test_warm_backend. Apart from it, so that its replicas import neither pytest nor torch."""


def model(precision, factor):
    return Model(precision, factor)


def unrecordable():
    """Batches on a device that cannot record the model's graphs."""
    # Here, so that no other replica takes the seconds that torch takes.
    import torch

    from serve_deployments.batches.batch_parts import Parts
    from serve_deployments.batches.device_batches import DeviceBatches
    from serve_deployments.fakes.fake_accelerator import FakeAccelerator

    parts = Parts(lambda rows: {"x": torch.ones(len(rows))}, lambda x: x, lambda made: made["x"].tolist())
    error = RuntimeError("operation not permitted when stream is capturing")
    return DeviceBatches(parts, FakeAccelerator(cannot_record=error), cuda_graphs=True)


class Model:
    """Says under what it runs, and can change its factor, but not to 13; with 17 it records graphs, and cannot."""

    def __init__(self, precision, factor):
        self.precision = precision
        self.take(factor)

    def __call__(self, payloads):
        if "bad" in payloads:
            raise ValueError("bad input")
        return [f"{self.precision} {self.factor}"] * len(payloads)

    def change(self, factor):
        if factor == 13:
            raise ValueError("unlucky")
        self.take(factor)

    def take(self, factor):
        if factor == 17:
            self.batches = unrecordable()
            self.batches(["x"])
        self.factor = factor
