"""What of a run is checked before it is exported: the run may come from somebody else, and a config runs code."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.document import Unreadable, text_of
from cluster.inventory import ACCELERATOR_LABEL, NODE_ID_LABEL
from raytune_infer.errors import RunError
from raytune_infer.spec.document import shown
from raytune_infer.spec.knobs.knob_space import configs_among, whens
from raytune_infer.spec.samples.samples import sample_files
from raytune_infer.spec.service_spec import ServiceSpec
from raytune_infer.study.space import settings_from
from searchers.space import Value
from serve_deployments.environment.code_loading import loads_code
from serve_deployments.environment.secrets import secrets_in
from serve_deployments.settings import Settings

_LABEL_VALUE = re.compile(r"[\w.-]+|in\([\w.-]+(,[\w.-]+)*\)", re.ASCII)
"""One value of a label, or several of which any will do."""


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
    if odd := sorted(n for n in config.keys() | spec.knobs.keys() if not _may_be(spec, config, n)):
        raise _changed(f"a configuration that its service.yaml does not have ({', '.join(odd)})")
    if dict(config) not in configs_among(spec.knobs, spec.where, {name: (value,) for name, value in config.items()}):
        raise _changed(f"a configuration that its service.yaml does not allow ({', '.join(sorted(config))})")
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


def _may_be(spec: ServiceSpec, config: Mapping[str, Value], name: str) -> bool:
    """Whether a configuration has one of a knob's values, or none of a knob that does not exist everywhere."""
    if name in config:
        return name in spec.knobs and config[name] in spec.values(name)
    return ("knobs", name, "when") in whens(spec.knobs)


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
