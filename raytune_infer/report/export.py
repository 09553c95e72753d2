"""Export of a recommendation as a Ray Serve config file that can be deployed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import yaml

from raytune_infer.report.renderers.console_table import plain
from raytune_infer.spec.service import model_source
from raytune_infer.spec.service_spec import ServiceSpec
from serve_deployments.settings import Settings

_HEAD = """\
# {name}: the recommended configuration{emulated}.
# Deploy it to a running Ray cluster, on this machine (`ray start --head`) or elsewhere:
#   RAY_AUTH_MODE=token serve deploy serve_config.yaml
# This sends the token in ~/.ray/auth_token (Ray creates it when `tune` starts Ray), if the cluster needs one.
# Without that file, on a cluster without token authentication:  serve deploy serve_config.yaml
# raytune-infer must be installed on each node; POST requests as JSON to the route below.
"""
_HOST = "host: 127.0.0.1"


def serve_config(spec: ServiceSpec, settings: Settings, answer: str = "") -> str:
    """Return the YAML for `serve deploy`: the same replica with the settings that were measured.

    Args:
        spec: the service.
        settings: settings of its replicas.
        answer: what is said of this configuration, for a comment at the top.
    """
    options = settings.ray_actor_options
    head = _HEAD.format(name=spec.name, emulated=" of emulated devices" if settings.emulated else "")
    if answer:
        # Knobs' values are a user's text: a line break in one would end the comment.
        head += f"# {plain(answer).replace(chr(10), ' ').replace(chr(9), ' ')}\n"
    if spec.model.path is not None and not spec.model.path.startswith("package:"):
        head += "# The model's path must exist on each node.\n"
    if "ray.io/node-id" in settings.node_labels:
        head += "# No label tells this GPU type from others of the cluster, so its nodes are listed one by one.\n"
    if spec.model.build is not None:
        head += "# What the model needs of the folder of service.yaml (`folder` below) must be on each node.\n"
    application: dict[str, Any] = {
        "name": spec.name,
        "route_prefix": "/",
        "import_path": "serve_deployments.replicas.application:application",
        "args": {"model": asdict(model_source(spec)), "settings": settings.as_dict()},
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
    return head + text.replace(_HOST, f"{_HOST}  # for others than this machine, as on Kubernetes: 0.0.0.0", 1)
