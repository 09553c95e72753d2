"""Export of a recommendation as a Ray Serve config file that can be deployed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import yaml

from cluster.starting.own_ray import START
from raytune_infer.errors import SpecError
from raytune_infer.report.renderers.console_table import plain
from raytune_infer.report.words.effects import code_of_config
from raytune_infer.spec.samples.sample_order import distinct, spread
from raytune_infer.spec.samples.samples import read_samples
from raytune_infer.spec.service import model_source, service_wait
from raytune_infer.spec.service_spec import ServiceSpec
from raytune_infer.store.run_folder import RunFolder
from serve_deployments.endpoint import Payload
from serve_deployments.environment.secrets import secrets_in
from serve_deployments.replicas.http.payload_type import AS_JSON, PayloadType
from serve_deployments.replicas.http.warm_up import MOST_SAMPLES, in_config
from serve_deployments.settings import Settings

DEPLOY = "RAY_AUTH_MODE=token serve deploy serve_config.yaml"
"""The command that deploys the config."""
STATUS = "RAY_AUTH_MODE=token serve status"
"""The command that says whether it runs."""

_HEAD = """\
# {name}: the recommended configuration{emulated}.
# Deploy it to a running Ray cluster, on this machine or elsewhere:
#   {deploy}
# This sends the token in ~/.ray/auth_token (Ray creates it when `tune` starts Ray), if the cluster needs one. A Ray on
# this machine that listens on 127.0.0.1 alone, for whoever has the token:
#   {start}
# Without that file, on a cluster without token authentication:  serve deploy serve_config.yaml
# raytune-infer must be installed on each node.
"""
_MPS = """\
# It has a share of a GPU. Several replicas compute on one GPU at once only with CUDA MPS: start it on each GPU node
# before Ray, as the same user:  nvidia-cuda-mps-control -d
# Without MPS they take turns, each on its share. `raytune-infer cluster --address auto` says which nodes have it.
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


class _RowsInALine(yaml.SafeDumper):
    """Writes a list of numbers in one line: samples are read by people, and one number a line hides all else."""


def _list_node(dumper: _RowsInALine, values: list[Any]) -> yaml.Node:
    row = all(isinstance(value, int | float) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=row)


_RowsInALine.add_representer(list, _list_node)


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
    text = yaml.dump(config, Dumper=_RowsInALine, sort_keys=False, allow_unicode=True, width=math.inf)
    head = _head(spec, settings, payload_type, answer) + (_WARM_UP if warm_up else _COLD)
    return head + text.replace(_HOST, f"{_HOST}  # for others than this machine, as on Kubernetes: 0.0.0.0", 1)


def _head(spec: ServiceSpec, settings: Settings, payload_type: PayloadType, answer: str) -> str:
    """What a reader of the config must know, as comments."""
    head = _HEAD.format(
        name=_one_line(spec.name),
        emulated=" of emulated devices" if settings.emulated else "",
        deploy=DEPLOY,
        start=START,
    )
    head += _REQUESTS[payload_type.kind].format(array=_one_line(_array(payload_type)))
    if answer:
        head += f"# {_one_line(answer)}\n"
    if spec.model.takes_each_request:
        seconds, origin = service_wait(spec)
        head += _WAIT.format(seconds=seconds, origin=origin)
    if not spec.folder.is_dir():
        head += (
            f"# {_one_line(str(spec.folder))}, the folder of service.yaml in the run, is not on this machine.\n"
            "# If it was moved, put its new path wherever this one is below, or resume the run from there once.\n"
        )
    if spec.model.path is not None and not spec.model.path.startswith("package:"):
        head += "# The model's path must exist on each node.\n"
    if 0 < settings.gpu_share < 1 and not settings.emulated:
        head += _MPS
    for effect in code_of_config(spec, settings):
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
    left_out = {"wait"} if spec.model.llm is not None else {"wait", "ours"}
    model = {name: value for name, value in asdict(model_source(spec)).items() if name not in left_out}
    wait = {"answers_within_s": service_wait(spec)[0]} if spec.model.takes_each_request else {}
    return {"model": model, **wait}


def _array(payload_type: PayloadType) -> str:
    """The dtype and shape of an array as words of a sentence."""
    dtype = f" of {payload_type.dtype}" if payload_type.dtype else ""
    return dtype + (f" with shape {list(payload_type.shape)}" if payload_type.shape else "")
