"""A Grafana dashboard of a running study, as the JSON that Grafana imports: the panels of `panels`, in two columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raytune_infer.study.monitoring.panels import PANELS, Panel, Query
from raytune_infer.study.monitoring.study_series import BUDGET

UID = "raytuneInferStudy"
"""The dashboard's own name, by which a page embeds its panels: `/d-solo/UID?panelId=1`."""

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
"""Where the numbers come from: chosen above the panels. The Ray Dashboard passes `var-datasource` to what it embeds."""

_SCHEMA = 39  # of dashboards, that of Grafana 10.4 and later, which bring older ones up to date when they import them
_WIDE, _HIGH = 12, 8  # of a panel; Grafana's page is 24 units wide


def dashboard(panels: Sequence[Panel] = PANELS) -> dict[str, Any]:
    """Return the dashboard, for `json.dump`."""
    return {
        "uid": UID,
        "title": "raytune-infer: studies",
        "description": "Studies of raytune-infer while they run, from the metrics that Ray exports on each node.",
        "tags": ["ray", "raytune-infer"],
        "schemaVersion": _SCHEMA,
        "editable": True,
        "refresh": "5s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_source_choice(), _label_choice("study", ""), _label_choice("run", 'study=~"$study"')]},
        "panels": [_panel(panel, place) for place, panel in enumerate(panels)],
    }


def _panel(panel: Panel, place: int) -> dict[str, Any]:
    limits: Mapping[str, float] = {} if panel.most is None else {"max": panel.most}
    stacking = {"mode": "normal" if panel.stacked else "none"}
    return {
        "id": place + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.meaning,
        "datasource": _SOURCE,
        "gridPos": {"x": _WIDE * (place % 2), "y": _HIGH * (place // 2), "w": _WIDE, "h": _HIGH},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit, "min": 0, **limits,
                "custom": {"drawStyle": "line", "fillOpacity": 20 if panel.stacked else 0, "stacking": stacking},
            },
            "overrides": [_apart(query) for query in panel.queries if panel.stacked and not query.stacked],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [_target(query, chr(ord("A") + number)) for number, query in enumerate(panel.queries)],
    }  # fmt: skip


def _apart(query: Query) -> dict[str, Any]:
    """Return what keeps a query's line out of the stack."""
    return {
        "matcher": {"id": "byName", "options": query.legend},
        "properties": [
            {"id": "custom.stacking", "value": {"mode": "none"}}, {"id": "custom.fillOpacity", "value": 0},
        ],
    }  # fmt: skip


def _target(query: Query, letter: str) -> dict[str, Any]:
    return {"refId": letter, "datasource": _SOURCE, "expr": query.expression, "legendFormat": query.legend}


def _source_choice() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _label_choice(label: str, among: str) -> dict[str, Any]:
    """Return the choice of a label's value: all that there are, by default every one."""
    query = f"label_values({BUDGET.exported}{{{among}}}, {label})"
    return {
        "name": label, "label": label, "type": "query", "datasource": _SOURCE, "refresh": 2, "includeAll": True,
        "allValue": ".*", "multi": False, "sort": 2, "definition": query,
        "query": {"query": query, "refId": f"Choice of {label}"}, "current": {"text": "All", "value": "$__all"},
    }  # fmt: skip
