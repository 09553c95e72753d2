"""The ranking of `recommend` as people read it, with what is not known."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table

from cluster.prices import usd_per_million
from raytune_infer.ranking.recommendation import Ranked, Recommendation
from raytune_infer.report.figures import EMULATED, EMULATED_NOTE, ESTIMATE_NOTE, spelled
from raytune_infer.spec.service_spec import PRICED


def asked(found: Recommendation) -> str:
    """What the ranking is by, on one line."""
    objective = found.objective
    parts = [f"{'least' if objective.minimize else 'most'} {objective.goal.text}"]
    parts += [f"{name} ≤ {limit:g}" for name, limit in objective.at_most.items()]
    parts += [f"{name} ≥ {bound:g}" for name, bound in objective.at_least.items()]
    return f"[bold]{escape(', '.join(parts))}[/]  (prices: {escape(found.prices)})"


def ranking_table(found: Recommendation) -> Table:
    """A configuration a line: first those that count, in their order, then the others and why not."""
    everything = (*found.ranked, *found.others)
    latencies = [name for name in found.objective.at_most if name.endswith("_ms")] or ["p99_ms"]
    used = any(r.known.level is not None and r.known.level.usage is not None for r in everything)
    table = Table(title=EMULATED if any(r.emulated for r in everything) else None, title_justify="left")
    headings = ["", "configuration", "requests/s", "could be", *(name.replace("_", " ") for name in latencies)]
    headings += [*(["model busy", "batch", "cores", "GPU"] if used else []), "USD/hour", "USD per million"]
    for heading in (*headings, found.objective.goal.text):
        table.add_column(escape(heading), justify="left" if heading == "configuration" else "right", overflow="fold")
    for place, r in enumerate(everything, 1):
        level = r.known.level
        counts = r.value is not None
        told = {name: level.value(name) if level is not None else None for name in latencies}
        table.add_row(
            str(place) if counts else "–", escape(spelled(r.config)), rate(r),
            ", ".join(filter(None, [possible(r), "" if counts else why_not(found, r)])),
            *("" if value is None else f"{value:.4g}" for value in told.values()), *(_usage(r) if used else ()),
            _number(r.usd_per_hour), _usd_per_million(r), _number(r.figure),
            style="bold green" if r is found.best else None if counts else "dim",
        )  # fmt: skip
    return table


def rate(r: Ranked) -> str:
    """The rate of the highest level that kept the limits: "≥" if more is possible, "~" if it was not steady."""
    level = r.known.level
    if level is None:
        return ""
    # The interval of an open level is that of the arrivals, which says nothing of the replica.
    told = level.interval_rps if level.mode == "closed" else r.known.interval_rps
    interval = "" if told is None else " ({:.4g}–{:.4g})".format(*told)
    return f"{'' if r.known.resolved else '≥ '}{'' if level.steady else '~'}{level.rate_rps:.4g}{interval}"


def possible(r: Ranked) -> str:
    """What else the rate could be: below which bound, and where the limit is crossed by interpolation."""
    known = r.known
    if known.resolved:
        return ""
    bound = "no bound" if math.isinf(known.at_most_rps) else f"< {known.at_most_rps:.4g}"
    return bound if known.estimate_rps is None else f"{bound}, ≈ {known.estimate_rps:.4g}"


def why_not(found: Recommendation, r: Ranked) -> str:
    """Why a configuration does not count, as far as is known."""
    if r.known.level is None:
        if r.known.resolved:
            return "breaks a limit at any load"
        return "no level kept them"
    objective = found.objective
    metrics = {**r.known.level.with_metrics(objective.limited), PRICED: r.usd_per_hour}
    broken = objective.broken(metrics)
    said = [f"{name} > {objective.at_most[name]:g}" for name in objective.at_most if name in broken]
    said += [f"{name} < {objective.at_least[name]:g}" for name in objective.at_least if name in broken]
    return ", ".join(said) or f"{objective.goal.text} has no value"


def notes(found: Recommendation) -> list[str]:
    """What to know beside the numbers, each thing once."""
    everything = (*found.ranked, *found.others)
    knowns = [r.known for r in everything]
    said: list[str] = []
    if not found.arrivals:
        said.append(
            "the run looked for the peak: rates are of clients that wait for their answer, in the order of their "
            "number; random arrivals at such a rate queue longer, so of those each is an upper estimate"
        )
    if any(not k.resolved and k.level is not None for k in knowns):
        said.append("≥: that rate kept the limits, and no level says that a higher one does not, up to `could be`")
    if any(k.estimate_rps is not None for k in knowns):
        said.append(
            "≈: an estimate, which ranks nothing: an interpolation of log latency over log rate between two levels, "
            "what a trial believed that ended early, or what a simulated queue of the replica's batches would do"
        )
    if any(k.level is not None and not k.level.steady for k in knowns):
        said.append(ESTIMATE_NOTE)
    for r in everything:
        who = f"trial {', '.join(map(str, r.trials))}"
        if r.known.client_limited:
            said.append(f"{who}: the load side was the bottleneck, the replica may do more")
        if r.known.contradicted:
            said.append(f"{who}: {_levels(r.known.contradicted)} the others, by chance or as batches fill better")
        said += [f"trial {number} of the configuration of {who} could not run: {why}" for number, why in _sorted(r)]
    said += [f"trial {number} could not run: {why}" for number, why in found.failed.items()]
    if found.untried:
        said.append(f"{found.untried} configurations of the space were never tried; nothing is known of them")
    if any(r.emulated for r in everything):
        said.append(EMULATED_NOTE)
    return said


def trials_needed(found: Recommendation) -> list[str]:
    """The new trials that could change the answer, or the assurance that none of these configurations could."""
    best = found.best
    if not found.needed:
        if best is None:
            return ["None of the configurations that were measured keeps the limits."]
        return ["No new trial of a configuration that was measured could put another one first."]
    opening = "Nothing measured surely keeps the limits; new trials would show whether these do:"
    if best is not None:
        opening = "A new trial could put another one first:"
    return [opening, *(f"  {spelled(r.config)}: {where(r, arrivals=found.arrivals)}" for r in found.needed)]


def where(r: Ranked, *, arrivals: bool) -> str:
    """At which load a new trial should look."""
    known = r.known
    if known.clients is not None:
        kept, broke = known.clients
        told = "more than {} clients" if broke is None else "fewer than {1} clients" if kept is None else ""
        clients = (told or "between {} and {} clients").format(kept, broke)
    else:
        clients = ""
    low, high, about = known.at_least_rps, known.at_most_rps, known.estimate_rps
    if math.isinf(high):
        rates = f"above {low:.4g} requests/s" if low else "at any rate: no level tells"
        rates += f", about {about:.4g}" if low and about else ""
        rates += ", with more load actors" if known.client_limited else ""
    elif low:
        rates = f"about {about or math.sqrt(low * max(low, high)):.4g} requests/s, between {low:.4g} and {high:.4g}"
    else:
        rates = f"below {high:.4g} requests/s" if about is None else f"about {about:.4g} requests/s, below {high:.4g}"
    if known.alone is not None:
        waiting = (
            "one client alone"
            if known.alone.asked == 1
            else f"{known.alone.asked:g} clients, each waiting for its answer,"
        )
        rates += f"; {waiting} kept the limits at {known.alone.rate_rps:.4g}"
    return rates if arrivals or not clients else f"{clients} ({rates})"


def _usage(r: Ranked) -> tuple[str, ...]:
    usage = r.known.level.usage if r.known.level is not None else None
    if usage is None:
        return ("", "", "", "")
    shares = [usage.busy_share, usage.mean_batch, usage.cpu_cores, usage.gpu_utilisation]
    forms = ("{:.0%}", "{:.1f}", "{:.2f}", "{:.0%}")
    return tuple("" if value is None else form.format(value) for form, value in zip(forms, shares, strict=True))


def _usd_per_million(r: Ranked) -> str:
    level = r.known.level
    known = level is not None and level.rate_rps > 0 and not math.isnan(r.usd_per_hour)
    return f"{usd_per_million(r.usd_per_hour, level.rate_rps):.4g}" if known and level is not None else ""


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4g}"


def _levels(count: int) -> str:
    return "one level contradicts" if count == 1 else f"{count} levels contradict"


def _sorted(r: Ranked) -> list[tuple[int, str]]:
    failures: Mapping[int, str] = r.failures
    return sorted(failures.items())
