"""Ray Serve's controller and handles without Ray, as far as `serve_backend` asks them; time passes only by waiting."""

from types import SimpleNamespace
from typing import Any

from ray.serve.schema import ApplicationStatus

from serve_deployments.backend import ReplicaFacts

NEVER = float("inf")


def facts(pid=7, **more):
    return ReplicaFacts("host", pid, (), (), "cpu", more.pop("failure", None), more.pop("out_of_memory", None), **more)


class Response:
    """An answer at a time of the clock: facts, or an error."""

    def __init__(self, serve, at_s, answer):
        self.serve, self.at_s, self.answer, self.cancelled, self.waits_s = serve, at_s, answer, False, []

    def result(self, timeout_s):
        assert not self.cancelled, "who withdrew a request cannot have its answer"
        self.waits_s.append(timeout_s)
        if self.at_s > self.serve.time_s + timeout_s:
            self.serve.time_s += timeout_s
            raise TimeoutError
        self.serve.time_s = max(self.serve.time_s, self.at_s)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def cancel(self):
        self.cancelled = True


class FakeServe:
    """Serve's controller and its handles; time passes only while somebody waits.

    What happens to the application that is deployed:

    Args:
        placed_s: when its replica has a node.
        ready_s: when the replica answers.
        answer: what it answers then.
        failed_s: when Serve gives it up.
        gone_after_s: how long Serve takes to forget an application.
    """

    def __init__(self, placed_s=0.0, ready_s=1.0, answer=None, failed_s=NEVER, gone_after_s=0.2):
        self.placed_s, self.ready_s, self.failed_s, self.gone_after_s = placed_s, ready_s, failed_s, gone_after_s
        self.answer = answer or facts()
        self.time_s = 1000.0  # since the machine was started
        self.began_s = self.time_s
        self.apps: dict[str, float] = {}  # name → when it is gone
        self.targets: list[Any] = []
        self.asked: list[tuple] = []
        self.responses: list[Response] = []
        self.forgotten: list[str] = []
        self.later: Any = None  # what it answers from now on

    # --- time
    def monotonic(self):
        return self.time_s

    def sleep(self, seconds):
        self.time_s += seconds

    # --- Serve's API
    def run_many(self, targets, wait_for_applications_running):
        assert not wait_for_applications_running, "that waits for ever for what no node can hold"
        for target in targets:
            self.targets.append(target)
            self.apps[target.name] = NEVER

    def delete(self, app, _blocking=True):
        assert not _blocking, "Serve waits for ever for a replica that hangs"
        if app in self.apps:
            self.apps[app] = self.time_s + self.gone_after_s

    def status(self):
        return SimpleNamespace(applications={app: None for app, gone_s in self.apps.items() if gone_s > self.time_s})

    def get_serve_details(self):
        """In the form of Ray 2.60's, of one application."""
        passed_s = self.time_s - self.began_s
        node = "a" * 56 if passed_s >= self.placed_s else None
        status = ApplicationStatus.DEPLOY_FAILED if passed_s >= self.failed_s else ApplicationStatus.DEPLOYING
        deployment = {"message": "1 replica\n  is STARTING", "replicas": [{"node_id": node, "state": "STARTING"}]}
        details = {"status": status.value, "message": "waits", "deployments": {"Replica": deployment}}
        return {"applications": {app: details for app in self.status().applications}}

    # --- a handle
    def handle_of(self, app):
        def method(name):
            def remote(*args):
                self.asked.append((app, name, *args))
                first = not self.responses
                at_s, answer = (self.began_s + self.ready_s, self.answer) if first else (self.time_s, self.later)
                self.responses.append(Response(self, at_s, answer or self.answer))
                return self.responses[-1]

            return SimpleNamespace(remote=remote)

        return SimpleNamespace(**{name: method(name) for name in ("change", "facts", "park")})
