"""Export of a recommendation as a Ray Serve config file that can be deployed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cluster.document import Unreadable, text_of
from cluster.inventory import ACCELERATOR_LABEL, NODE_ID_LABEL
from raytune_infer.errors import RunError, SpecError
from raytune_infer.report.renderers.console_table import plain
from raytune_infer.report.words.effects import code_of
from raytune_infer.spec.document import shown
from raytune_infer.spec.samples.sample_order import distinct, spread
from raytune_infer.spec.samples.samples import read_samples, sample_files
from raytune_infer.spec.service import model_source, service_wait
from raytune_infer.spec.service_spec import ServiceSpec
from raytune_infer.store.run_folder import RunFolder
from raytune_infer.study.space import settings_from
from searchers.space import Value
from serve_deployments.endpoint import Payload
from serve_deployments.replicas.http.payload_type import AS_JSON, PayloadType
from serve_deployments.replicas.http.warm_up import MOST_SAMPLES, in_config
from serve_deployments.settings import Settings, loads_code, secrets_in

_HEAD = """\
# {name}: the recommended configuration{emulated}.
# Deploy it to a running Ray cluster, on this machine (`ray start --head`) or elsewhere:
#   RAY_AUTH_MODE=token serve deploy serve_config.yaml
# This sends the token in ~/.ray/auth_token (Ray creates it when `tune` starts Ray), if the cluster needs one.
# Without that file, on a cluster without token authentication:  serve deploy serve_config.yaml
# raytune-infer must be installed on each node.
"""
_HOST = "host: 127.0.0.1"

_WARM_UP = """\
# `warm_up` holds samples of the study: each replica runs its first batches of them before it takes requests. Put others
# in their place if these are not for everyone who reads this file.
"""
_WAIT = """\
# A request that the model has not answered within {seconds:g} s is answered with an error: `answers_within_s` below,
# {origin}. Put the time limit of your service there.
"""
_COLD = "# No sample could be put into this file as `warm_up`: the first requests to a replica may be slow.\n"

_REQUESTS = {
    "json": "# POST a payload as JSON:  curl -H 'Content-Type: application/json' -d 'PAYLOAD' http://127.0.0.1:8000/\n",
    "text": "# POST a text:  curl -H 'Content-Type: text/plain' --data-binary 'TEXT' http://127.0.0.1:8000/\n"
    "# or the same as JSON, in quotes, with application/json.\n",
    "array": "# POST an array{array} as the content of a .npy file:\n"
    "#   curl -H 'Content-Type: application/x-npy' --data-binary @array.npy http://127.0.0.1:8000/\n"
    "# or as nested lists in JSON, with application/json.\n",
    "bytes": "# POST the bytes of a file:\n"
    "#   curl -H 'Content-Type: application/octet-stream' --data-binary @FILE http://127.0.0.1:8000/\n",
}
"""Kind of payload → how to send one."""


def payload_type_of(run: RunFolder, spec: ServiceSpec) -> PayloadType:
    """Return the type of the payloads of a run: the one that it kept, or in older runs that of the samples, if any."""
    if run.payload_type is not None:
        return PayloadType(**run.payload_type)
    try:
        return PayloadType.of(read_samples(spec))
    except SpecError:  # the file is not there any more
        return AS_JSON


def samples_of(spec: ServiceSpec) -> Sequence[Payload]:
    """Return the samples for the first batches of a service, a fair part of all; none if their file is gone."""
    try:
        return distinct(spread(read_samples(spec), np.random.default_rng(0)), MOST_SAMPLES)
    except SpecError:
        return ()


def samples_within(spec: ServiceSpec) -> bool:
    """Whether the samples of a run are in its service.yaml or in files of that file's folder, with links followed.

    A run that comes from somebody else may name any file of this machine, and any folder as that of its service: so
    the folder must have the service.yaml.
    """
    try:
        paths, folder = sample_files(spec), spec.folder.resolve()
        if paths and not any(_text(file) == spec.text for file in folder.glob("*.y*ml")):
            return False
        files = [file for path in paths for file in (path, *(path.iterdir() if path.is_dir() else ()))]
        return all(file.resolve().is_relative_to(folder) for file in files)
    except (OSError, ValueError, RuntimeError):  # a circle of links, say
        return False


def _text(file: Path) -> str | None:
    """The text of a YAML file; None if it cannot be read."""
    try:
        return text_of(file)
    except Unreadable:
        return None


def recorded_settings(spec: ServiceSpec, config: Mapping[str, Value], recorded: Mapping[str, Any]) -> Settings:
    """Return the settings of a trial's configuration, checked against those that its run has recorded.

    The run may come from somebody else, and what is exported runs as whoever deploys it. So all settings follow from
    the run's service.yaml and the configuration; what the cluster decides is taken from the record if it has the form.

    Args:
        spec: the service.
        config: the trial's configuration.
        recorded: its settings; those that an earlier version did not have may be missing.

    Raises:
        RunError: the service does not have the configuration, or the record differs from the settings that follow.
    """
    if odd := sorted(n for n in config.keys() | spec.knobs.keys() if not _is_choice(spec, config, n)):
        raise _changed(f"a configuration that its service.yaml does not have ({', '.join(odd)})")
    try:
        settings = Settings.of(recorded)
        list(secrets_in(settings.args))  # raises for what looks like a secret and is none, as a former version took it
        _check_of_cluster(settings)
        given = settings_from(
            spec, config, node_labels=settings.node_labels, gpu_memory_gib=settings.gpu_memory_gib,
            emulated=settings.emulated,
        )  # fmt: skip
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise RunError(f"the settings that the run has recorded are not those of a replica: {error}") from None
    found, expected = _as_stored(settings), _as_stored(given)
    different = [_difference(n, found[n], expected[n]) for n in expected if n in recorded and found[n] != expected[n]]
    if different:
        raise _changed(f"other settings than its service.yaml and configuration give ({'; '.join(different)})")
    return given


def _is_choice(spec: ServiceSpec, config: Mapping[str, Value], name: str) -> bool:
    return name in spec.knobs and name in config and config[name] in spec.values(name)


def _changed(what: str) -> RunError:
    return RunError(
        f"the run has recorded {what}, so it was changed after it was measured; measure it again instead of exporting "
        "it"
    )


def _check_of_cluster(settings: Settings) -> None:
    """Check the form of what the cluster decides, as nothing here tells its value; raises ValueError."""
    labels, memory_gib = settings.node_labels, settings.gpu_memory_gib
    if not isinstance(settings.emulated, bool):
        raise ValueError(f"emulated must be true or false, got {settings.emulated!r}")
    if memory_gib is not None and not 0 < memory_gib < math.inf:
        raise ValueError(f"gpu_memory_gib must be positive and finite, got {memory_gib}")
    if bool(labels) != (settings.gpu_type is not None) or len(labels) > 1:
        raise ValueError(f"node_labels must have one label with a GPU and none without, got {dict(labels)}")
    for name, value in labels.items():
        if name not in (ACCELERATOR_LABEL, NODE_ID_LABEL) or not _LABEL_VALUE.fullmatch(value):
            raise ValueError(f"node_labels must select GPU types or nodes, got {dict(labels)}")


_LABEL_VALUE = re.compile(r"[\w.-]+|in\([\w.-]+(,[\w.-]+)*\)", re.ASCII)
"""One value of a label, or several of which any will do."""


def _as_stored(settings: Settings) -> dict[str, Any]:
    """The settings as a run's database gives them back."""
    stored: dict[str, Any] = json.loads(json.dumps(settings.as_dict(), default=str))
    return stored


def _difference(name: str, found: Any, expected: Any) -> str:
    """Where a recorded setting differs from the one that follows: by name in a mapping, else with both values."""
    if isinstance(found, dict) and isinstance(expected, dict):
        odd = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
        return f"{name}: {', '.join(odd)}"
    return f"{name}: {shown(found)}, not {shown(expected)}"


def refuse_loading(settings: Settings) -> None:
    """Refuse environment variables that may load code into the replica; raises RunError."""
    if found := sorted(name for name, value in settings.env.items() if loads_code(name, value)):
        raise RunError(
            f"the config would set {', '.join(f'{name}={settings.env[name]}' for name in found)}, which may load any "
            "code into the replica; if you trust this run, add --trust"
        )


def serve_config(
    spec: ServiceSpec,
    settings: Settings,
    payload_type: PayloadType,
    answer: str = "",
    *,
    samples: Sequence[Payload] = (),
) -> str:
    """Return the YAML for `serve deploy`: the same replica with the settings that were measured.

    Args:
        spec: the service.
        settings: settings of its replicas.
        payload_type: what it converts requests to.
        answer: what is said of this configuration, for a comment at the top.
        samples: samples, of which replicas run their first batches before they take requests.
    """
    options, warm_up = settings.ray_actor_options, in_config(samples, payload_type)
    application: dict[str, Any] = {
        "name": spec.name,
        "route_prefix": "/",
        "import_path": "serve_deployments.replicas.application:application",
        "args": {
            **_model(spec),
            "settings": settings.as_dict(),
            "payload": payload_type.as_dict(),
            **({"warm_up": warm_up} if warm_up else {}),
        },
        "deployments": [
            {
                "name": "Replica",
                "num_replicas": 1,
                "max_ongoing_requests": settings.max_ongoing_requests,
                "ray_actor_options": options,
            }
        ],
    }
    config = {
        "proxy_location": "EveryNode",
        "http_options": {"port": 8000, "host": "127.0.0.1"},
        "applications": [application],
    }
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    head = _head(spec, settings, payload_type, answer) + (_WARM_UP if warm_up else _COLD)
    return head + text.replace(_HOST, f"{_HOST}  # for others than this machine, as on Kubernetes: 0.0.0.0", 1)


def _head(spec: ServiceSpec, settings: Settings, payload_type: PayloadType, answer: str) -> str:
    """What a reader of the config must know, as comments."""
    head = _HEAD.format(name=_one_line(spec.name), emulated=" of emulated devices" if settings.emulated else "")
    head += _REQUESTS[payload_type.kind].format(array=_one_line(_array(payload_type)))
    if answer:
        head += f"# {_one_line(answer)}\n"
    if spec.model.concurrent:
        seconds, origin = service_wait(spec)
        head += _WAIT.format(seconds=seconds, origin=origin)
    if not spec.folder.is_dir():
        head += (
            f"# {_one_line(str(spec.folder))}, the folder of service.yaml in the run, is not on this machine.\n"
            "# If it was moved, put its new path wherever this one is below, or resume the run from there once.\n"
        )
    if spec.model.path is not None and not spec.model.path.startswith("package:"):
        head += "# The model's path must exist on each node.\n"
    for effect in code_of(spec):
        head += f"# It runs code: {_one_line(effect.what)}\n"
    for name in dict.fromkeys(secrets_in(settings.args)):
        head += f"# The environment of Ray on each node must have the secret {name}.\n"
    if "ray.io/node-id" in settings.node_labels:
        head += "# No label tells this GPU type from others of the cluster, so its nodes are listed one by one.\n"
    if spec.model.build is not None:
        head += "# What the model needs of the folder of service.yaml (`folder` below) must be on each node.\n"
    return head


def _one_line(text: str) -> str:
    """Return a text for a comment, which a line break in it would end: what a user wrote may hold any character."""
    return plain(text).replace("\n", " ").replace("\t", " ")


def _model(spec: ServiceSpec) -> dict[str, Any]:
    """The model as arguments of the application; one that batches for itself with the longest wait for its answers."""
    model = {name: value for name, value in asdict(model_source(spec)).items() if name != "wait"}
    return {"model": model, "answers_within_s": service_wait(spec)[0]} if spec.model.concurrent else {"model": model}


def _array(payload_type: PayloadType) -> str:
    """The dtype and shape of an array as words of a sentence."""
    dtype = f" of {payload_type.dtype}" if payload_type.dtype else ""
    return dtype + (f" with shape {list(payload_type.shape)}" if payload_type.shape else "")
