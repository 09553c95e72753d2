"""Writes the results of `cross_check`: which figures should agree, which should not, and what explains differences."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.measuring.rounds import Round, Seen, ratios, values
from benchmarks.measuring.tools.cross_tools import AT_ONCE, CLOSED, HTTP, OFFLINE, OPEN, SERVER, WRK
from benchmarks.recording.sections import markdown
from benchmarks.recording.spread import mean_ratio, middle

GOAL = 0.05
"""Largest relative difference allowed between rates that measure the same thing."""


@dataclass(frozen=True)
class Pair:
    """Two measurements whose ratio is shown.

    Args:
        name: the measurement in the numerator.
        against: the measurement in the denominator.
        same: whether they measure the same thing.
        why: in what they are the same, or differ.
    """

    name: str
    against: str
    same: bool
    why: str


PAIRS = (
    Pair(WRK, HTTP, True, "same way, same number of clients, each waits for its answer"),
    Pair(OFFLINE, AT_ONCE, True, "same set, handed over at once by handle"),
    Pair(SERVER, OPEN, True, "same rate of Poisson arrivals by handle, other arrivals"),
    Pair(OFFLINE, CLOSED, False, "the queue is the whole set, and starts and ends within the measured time"),
    Pair(WRK, CLOSED, False, "over Serve's HTTP proxy, which shares the client's cores"),
)


@dataclass(frozen=True)
class Checked:
    """The measurements of one service.

    Args:
        title: the service's name.
        clients: clients of the closed loops.
        rate_rps: rate of the random arrivals.
        seconds: least duration of a level.
        rounds: the measurements.
        true_rps: rate of the model alone; None where it is not known.
        apart: whether the clients had cores that the replica did not use.
    """

    title: str
    clients: int
    rate_rps: float
    seconds: float
    rounds: Sequence[Round]
    true_rps: float | None = None
    apart: bool = True


def section(checked: Checked) -> str:
    """The text on one service: what each tool measured, and ratios."""
    about = f"{checked.clients} clients; arrivals at {checked.rate_rps:.0f}/s"
    if checked.true_rps is not None:
        share = [rate / checked.true_rps for rate in values(checked.rounds, CLOSED, "rate_rps")]
        about += f"; the model alone does {checked.true_rps:.0f}/s, of which our closed loop saw {middle(share, '.1%')}"
    if not checked.apart:
        about += "; no cores were free for the clients"
    return "\n\n".join([
        f"### {checked.title}", f"{about}.", seen_table(checked.rounds), ratio_table(checked), *explained(checked),
    ])  # fmt: skip


def seen_table(rounds: Sequence[Round]) -> str:
    """The table of measurements: median and range over the rounds."""
    header = ["measured", "requests/s", "p50 ms", "p99 ms", "client's CPU", "proxy's CPU", "failed", "limited"]
    rows = []
    for name in dict.fromkeys(name for each in rounds for name in each):
        shares = [middle(values(rounds, name, f"{who}_cpu_share"), ".0%") for who in ("client", "proxy")]
        marks = (
            [f"{sum(values(rounds, name, 'limited')):.0f} of {len(rounds)}"] if name in (CLOSED, HTTP, OPEN) else ["–"]
        )
        figures = [middle(values(rounds, name, field)) for field in ("rate_rps", "p50_ms", "p99_ms")]
        rows.append([name, *figures, *shares, f"{sum(values(rounds, name, 'failed')):.0f}", *marks])
    return markdown(header, rows)


def ratio_table(checked: Checked) -> str:
    """The table of pairs: ratios within a round, their mean over the rounds, and whether the goal is met."""
    header = [
        "compared",
        "what they share or not",
        "rate, 95 % interval",
        "p50",
        "p99",
        f"within {GOAL:.0%}",
    ]
    rows = []
    for pair in PAIRS:
        found = [ratios(checked.rounds, pair.name, pair.against, field) for field in ("rate_rps", "p50_ms", "p99_ms")]
        if found[0]:
            mean, low, high = mean_ratio(found[0])
            rows.append([
                f"{pair.name} ÷ {pair.against}", pair.why, f"{mean:.3f} ({low:.2f} to {high:.2f})",
                middle(found[1], ".2f"), middle(found[2], ".2f"), goal_met(pair, low, high),
            ])  # fmt: skip
    return markdown(header, rows)


def goal_met(pair: Pair, low: float, high: float) -> str:
    """Whether the interval of a ratio shows that the goal is met; only applies where both measure the same thing."""
    if not pair.same:
        return "not the same"
    if 1 - GOAL <= low and high <= 1 + GOAL:
        return "yes"
    return "**no**" if high < 1 - GOAL or low > 1 + GOAL else "undecided"


def explained(checked: Checked) -> list[str]:
    """The rate that proxy and client allow over HTTP, given their CPU time per request, compared with wrk's."""
    costs = [cost for each in checked.rounds if WRK in each and (cost := cpu_ms(each[WRK])) is not None]
    if not costs:
        return []
    proxy, client = (statistics.median(part) for part in zip(*costs, strict=True))
    allowed = 1e3 / (proxy + client)
    closed, over_http = (statistics.median(values(checked.rounds, name, "rate_rps")) for name in (CLOSED, WRK))
    narrowest = "the proxy beside wrk" if allowed < closed else "the replica"
    return [
        f"Over HTTP a request takes {proxy:.2f} ms of the proxy's CPU and {client:.2f} ms of wrk's: one core that both "
        f"share allows {allowed:.0f}/s, our closed loop saw {closed:.0f}/s by handle. So {narrowest} allows "
        f"{min(allowed, closed):.0f}/s at most; wrk measured {over_http:.0f}/s, "
        f"{over_http / min(allowed, closed):.2f} of it."
    ]


def cpu_ms(seen: Seen) -> tuple[float, float] | None:
    """CPU milliseconds that the proxy and the client spend per request; None where they are not known."""
    if seen.proxy_cpu_share is None or seen.client_cpu_share is None or not seen.rate_rps:
        return None
    return 1e3 * seen.proxy_cpu_share / seen.rate_rps, 1e3 * seen.client_cpu_share / seen.rate_rps


def echo_section(rounds: Sequence[Round]) -> str:
    """The text on the overhead of a request without a model: one client, so that nothing queues."""
    pairs = [(each[HTTP].p50_ms, each[CLOSED].p50_ms) for each in rounds]
    added = [over_http - by_handle for over_http, by_handle in pairs if over_http and by_handle]
    costs = [cost[0] for each in rounds if (cost := cpu_ms(each[WRK])) is not None]
    return "\n\n".join([
        "### The way there and back: a model that answers at once, one client",
        seen_table(rounds),
        f"The proxy adds {middle(added, '.2f')} ms to the median latency of our client, and takes "
        f"{middle(costs, '.2f')} ms of CPU a request: one proxy can pass on {1e3 / statistics.median(costs):.0f}/s at "
        "most, whatever the replica.",
    ])  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """LoadGen's verdicts at one rate.

    Args:
        title: the service and its bound.
        asked: the rate in words.
        rate_rps: rate of arrivals.
        seen: the result of each test.
    """

    title: str
    asked: str
    rate_rps: float
    seen: Sequence[Seen]


def verdicts(judged: Sequence[Judged], queries: int) -> str:
    """The text on LoadGen's verdicts below and above the highest rate that we found."""
    header = ["service", "LoadGen, Server, at", "requests/s", "p99 ms", "p99 within the bound", "VALID"]
    rows = [
        [
            j.title, j.asked, f"{j.rate_rps:.0f}", middle([s.p99_ms for s in j.seen if s.p99_ms is not None]),
            f"{sum(s.kept_bound is True for s in j.seen)} of {len(j.seen)}",
            f"{sum(s.valid is True for s in j.seen)} of {len(j.seen)}",
        ]
        for j in judged
    ]  # fmt: skip
    return "\n\n".join([
        "### The highest rate under a bound on p99, judged by LoadGen",
        "`WithLoadActor` finds the highest rate; then LoadGen's Server tests a rate that should be valid and one that "
        f"should not, {queries} queries each where that does not take too long. VALID also needs LoadGen's early "
        "stopping to be sure, with 99 % confidence, that 99 % of all latencies would be within the bound; with less "
        "than 459 queries it cannot be.",
        markdown(header, rows),
    ])  # fmt: skip
