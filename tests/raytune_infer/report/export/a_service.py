"""A service whose config is exported."""

from pathlib import Path

from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import ServiceSpec, parse_spec

BUILT = """\
name: my-service
model: {build: "json:loads", args: {size: 3}}
samples: [x]
knobs: {cpu_cores: [1, 2]}
objective: {maximize: rps}
"""


def service(text: str = BUILT) -> ServiceSpec:
    return parse_spec(Document(text, "s.yaml"), folder=Path("/srv/models"))
