"""Texts on a ranking: its objective, why a configuration does not count, what is not known."""

from __future__ import annotations

import math
from collections.abc import Mapping

from raytune_infer.counted import by_number, counted, numbered
from raytune_infer.ranking.ranked import Ranked
from raytune_infer.ranking.rate_bounds import RateBounds
from raytune_infer.ranking.recommendation import Recommendation
from raytune_infer.report.figures import ALONE_NOTE, AT_MOST_NOTE, EMULATED_NOTE, ESTIMATE_NOTE, circumstances
from raytune_infer.report.level_figures import alone, cost, estimated, measured, rate
from raytune_infer.report.words.answers import marked
from raytune_infer.report.words.values import significant, spelled
from raytune_infer.report.words.verdict import answer as answer_of_comparison
from raytune_infer.report.words.verdict import rate_in_words, so_far
from raytune_infer.store.records import ANSWERS_DIFFER


def asked(found: Recommendation) -> str:
    """Return the objective of the ranking on one line."""
    objective = found.objective
    parts = [f"{'least' if objective.minimize else 'most'} {objective.goal.text}"]
    parts += [f"{name} ≤ {limit:g}" for name, limit in objective.at_most.items()]
    parts += [f"{name} ≥ {bound:g}" for name, bound in objective.at_least.items()]
    return ", ".join(parts)


def answer(found: Recommendation) -> str:
    """Return what to run, in one sentence; empty if no configuration certainly counts."""
    best = found.best
    if best is None:
        return ""
    if found.comparison is not None:
        return so_far(answer_of_comparison(found.comparison, found.objective), found.comparison, found.left)
    marks = circumstances(emulated=best.emulated, alone=best.alone)
    goal = f"{found.objective.goal.text} of {significant(best.figure)}"
    told = ", ".join(filter(None, (goal, rate_in_words(rate(best), marks), "from its own levels")))
    if found.best_is_default:
        return f"Keep the default, {_named(best)}: {told}; under this question no other is surely better"
    unlike = "under this question it was not measured side by side with the default"
    if best.alone and not all(r.alone for r in found.ranked):
        unlike += "; alone it had all of its GPU's caches and bandwidth, which others in this ranking had to share"
    return f"Run {_named(best)}: {told}; {unlike}"


def why_not(found: Recommendation, r: Ranked) -> str:
    """Return why a configuration does not count, as far as is known."""
    if r.known.level is None:
        return _none_kept(r.known)
    objective = found.objective
    broken = objective.broken(measured(r, objective.limited))
    said = [f"{name} > {objective.at_most[name]:g}" for name in objective.at_most if name in broken]
    said += [f"{name} < {objective.at_least[name]:g}" for name in objective.at_least if name in broken]
    if not said and r.compared is not None:
        return "broke a limit, or could not run, in the comparison"
    return ", ".join(said) or f"{objective.goal.text} has no value"


def _none_kept(known: RateBounds) -> str:
    """Return what the levels show of a configuration for which no rate is known that keeps the limits."""
    if known.resolved:
        return "breaks a limit at any load"
    if known.contradicted:  # all above a broken one: the bound is where fewest levels contradict it, here below all
        kept = "one level" if known.contradicted == 1 else f"{known.contradicted} levels"
        return f"{kept} kept the limits, but at least as many at lower rates broke them"
    return "no rate surely kept the limits"  # clients that wait for their answers may have


def notes(found: Recommendation) -> list[str]:
    """Return the notes on the numbers, each once."""
    everything = (*found.ranked, *found.others)
    knowns = [r.known for r in everything]
    said: list[str] = []
    if not found.arrivals:
        said.append(
            "the run looked for the peak: rates are closed-loop, with levels ordered by number of clients; "
            "random arrivals at the same rate queue longer, so for them each rate is an upper estimate"
        )
    if any(shown is not None and shown.at_least for shown in map(rate, everything)):
        said.append(
            "≥: that rate kept the limits, and no level rules out a higher one, up to `could be <`; the table of "
            "trials has in its place what a trial estimated"
        )
    if any(each is not None and each.at_most for each in map(cost, everything)):
        said.append(AT_MOST_NOTE)
    if any(k.estimate_rps is not None for k in knowns):
        said.append(
            "≈: an estimate, not used for ranking: under looser limits where all levels together put them, else an "
            "interpolation of log latency over log rate between two levels, the estimate of a trial that ended early, "
            "or the result of a simulated queue of the replica's batches"
        )
    if any(map(estimated, everything)):
        said.append(ESTIMATE_NOTE)
    for r in everything:
        who = numbered("trial", r.trials)
        if r.known.client_limited:
            whose = numbered("trial", r.limited) if r.limited else who
            said.append(f"{whose}: the load generator was the bottleneck, the replica may do more")
        if r.known.contradicted and r.known.level is not None:
            said.append(f"{who}: {_levels(r.known.contradicted)} the others, by chance or because batches fill better")
        said += [f"trial {number} of the configuration of {who} {_without_rate(why)}" for number, why in _sorted(r)]
    said += [f"trial {number} {_without_rate(why)}" for number, why in found.failed.items()]
    if found.untried:
        never = counted(found.untried, "configuration of the space was", "configurations of the space were")
        said.append(f"{never} never tried: {by_number(found.untried, 'it is', 'they are')} at most predicted")
    if any(r.alone and r.known.level is not None for r in everything):
        said.append(ALONE_NOTE)
    if any(r.emulated for r in everything):
        said.append(EMULATED_NOTE)
    return said


def never_loaded(found: Recommendation) -> str | None:
    """Return which trials may keep these limits and have no rate, as the run did not load them; None if there are none.

    They kept the limits on answers of this question, and not those of the run.
    """
    if not found.not_loaded:
        return None
    many = len(found.not_loaded)
    have, them = by_number(many, "has", "have"), by_number(many, "it", "them")
    return (
        f"{numbered('trial', found.not_loaded)} {have} no rate, and so no place: the run's limits on answers kept "
        f"{them} from being loaded, and these limits would not; a new run under these limits would measure {them}"
    )


def trials_needed(found: Recommendation) -> list[str]:
    """Return the new trials that could change the first place, one per line; or that none could."""
    best = found.best
    if not found.needed:
        if best is None:
            return ["None of the configurations that were measured keeps the limits."]
        if found.left is not None:
            return ["The rest of the comparison could put another one first: `tune --resume` goes on with it."]
        return ["No new trial of a configuration that was measured could put another one first."]
    opening = "Nothing measured surely keeps the limits; new trials would show whether these do:"
    if best is not None:
        opening = "A new trial could put another one first:"
    return [opening, *(f"{_named(r)}: {where(r, arrivals=found.arrivals)}" for r in found.needed)]


def where(r: Ranked, *, arrivals: bool) -> str:
    """Return the load at which a new trial should measure a configuration."""
    known = r.known
    if known.clients is not None:
        kept, broke = known.clients
        form = "more than {} clients" if broke is None else "fewer than {1} clients" if kept is None else ""
        clients = (form or "between {} and {} clients").format(kept, broke)
    else:
        clients = ""
    rates = _rates(known)
    if (told := alone(r)) is not None:
        waiting = "one client alone" if told[0] == 1 else f"{told[0]:g} clients, each waiting for its answer,"
        rates += f"; {waiting} kept the limits at {significant(told[1])}"
    return rates if arrivals or not clients else f"{clients} ({rates})"


def _rates(known: RateBounds) -> str:
    """Return the rates between which a new trial would find the answer."""
    low, high, about = known.at_least_rps, known.at_most_rps, known.estimate_rps
    least, most = significant(low), significant(high)
    near = "" if about is None else f"about {significant(about)} requests/s, "
    if math.isinf(high):
        rates = f"above {least} requests/s" if low else "at any rate, as no level gives a bound"
        rates += f", about {significant(about)}" if low and about else ""
        return rates + (", with more cores for the load generator" if known.client_limited else "")
    if not low:
        return f"{near}below {most}" if near else f"below {most} requests/s"
    middle = f"about {significant(math.sqrt(low * high))} requests/s, "
    return f"{near or middle}between {least} and {most}"


def _without_rate(why: str) -> str:
    """Return what became of a trial that has no rate."""
    begun = f"{ANSWERS_DIFFER}: "
    if why.startswith(begun):
        return f"was not loaded, as it broke the run's limits on answers: {why.removeprefix(begun)}"
    return f"could not run: {why}"


def _named(r: Ranked) -> str:
    return marked(spelled(r.config), r.answers)


def _levels(count: int) -> str:
    return "one level contradicts" if count == 1 else f"{count} levels contradict"


def _sorted(r: Ranked) -> list[tuple[int, str]]:
    failures: Mapping[int, str] = r.failures
    return sorted(failures.items())
