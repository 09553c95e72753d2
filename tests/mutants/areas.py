"""The code that is judged: where a wrong number would go unseen. What only Ray can run is left out."""

from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

# area: patterns of files, relative to the repository; the first area that fits counts
AREAS = {
    "searchers": ("searchers/**/*.py",),
    "measuring": ("serve_deployments/measuring/**/*.py", "serve_deployments/metrics/**/*.py"),
    "load": ("serve_deployments/load/*.py",),
    "replicas": (
        "serve_deployments/fakes/virtual_replicas.py",
        "serve_deployments/replicas/batching/*.py",
        *(f"serve_deployments/replicas/{name}.py" for name in ("cores", "hosting", "handles")),
        "serve_deployments/replicas/warm/*.py",
    ),
    "comparison": ("raytune_infer/comparing/*.py",),
    "recommend": (
        "raytune_infer/ranking/*.py",
        "raytune_infer/report/renderers/curve_drawing.py",
        "raytune_infer/report/level_figures.py",
    ),
    "models": ("serve_deployments/models/**/*.py", "serve_deployments/batches/*.py"),
    "device": ("serve_deployments/device/**/*.py", "serve_deployments/resources/usage.py"),
    "store": ("raytune_infer/store/*.py",),
    "study": ("raytune_infer/study/**/*.py",),
    "prices": ("cluster/prices.py",),
    "inventory": ("cluster/inventory.py",),
}
# Tests of this need a running Ray.
LEFT_OUT = ("searchers/ray_tune/tune_searcher.py",)


@cache
def judged(only: str = "", root: Path = ROOT) -> dict[str, str]:
    """The area of every file that is judged, by its path relative to `root`, in a fixed order.

    Args:
        only: paths that begin with it; all by default.
        root: the repository.
    """
    found: dict[str, str] = {}
    for area, patterns in AREAS.items():
        for pattern in patterns:
            for file in sorted(root.glob(pattern)):
                path = file.relative_to(root).as_posix()
                if path.startswith(only) and path not in LEFT_OUT and file.name != "__init__.py":
                    found.setdefault(path, area)
    return found


def area_of(path: str) -> str:
    """Where a named fault is counted: its area, or the package where it is in none."""
    return judged().get(path, path.split("/")[0])
