"""Timeline of the clients' jobs, and their plane of speed and angle: the numbers that page.js draws, and their HTML."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedqs_ray.report.figures_clients import ORDER, TYPES, aggregated, client_names, evenly
from fedqs_ray.report.svg import paragraph
from fedqs_ray.runs.result import Result

MOST = 120
"""Clients that are shown; of more, so many from the fastest to the slowest, evenly."""
MOST_JOBS, MOST_ROUNDS = 20_000, 10_000
"""Jobs and rounds on the page, about 1.5 MB; of a longer run, the last rounds that keep within both."""
FATES = ("arrived", "lost", "rejected", "unfinished")


def list_figures(result: Result) -> dict[str, Any]:
    """For page.js: the jobs of the clients shown, and where these stand in the plane of speed and angle.

    Clients are numbered by their row, the fastest (most updates) first. Times are virtual seconds.
    """
    jobs, count = result.arrivals, result.experiment.clients.count
    used = aggregated(result)
    updates = np.bincount(used["client"].to_numpy(), minlength=count)
    order = np.argsort(-updates, kind="stable")
    shown = order[evenly(count, MOST)]
    row = np.full(count, -1)
    row[shown] = np.arange(shown.size)
    jobs, time = of_clients(jobs, row), result.rounds["time"].to_numpy()
    left = find_leaving_times(jobs, time)
    first = find_first_round(left, time)
    if first:
        jobs = jobs.filter(pa.array(left >= time[first]))
    return {
        "first": first,
        "time": rounded(time[first:]),
        "clients": shown.tolist(),
        "names": client_names(result, shown),
        "count": count,
        "jobs": {
            "row": row[jobs["client"].to_numpy()].tolist(),
            "start": rounded(jobs["start"].to_numpy()),
            "end": rounded(jobs["end"].to_numpy()),
            "version": jobs["version"].to_pylist(),
            "round": jobs["round"].fill_null(0).to_pylist(),
            "fate": [FATES.index(name) for name in jobs["outcome"].to_pylist()],
        },
        "plane": list_plane_figures(result, row, first),
    }


def of_clients(jobs: pa.Table, row: NDArray[np.int64]) -> pa.Table:
    """The jobs of clients that are shown."""
    return jobs.filter(pa.array(row[jobs["client"].to_numpy()] >= 0))


def find_leaving_times(jobs: pa.Table, time: NDArray[np.float64]) -> NDArray[np.float64]:
    """(J,) virtual times at which jobs leave the timeline: their aggregation, or else their end."""
    number = jobs["round"].fill_null(0).to_numpy()
    left: NDArray[np.float64] = np.where(number > 0, time[np.minimum(number, time.size - 1)], jobs["end"].to_numpy())
    return left


def find_first_round(left: NDArray[np.float64], time: NDArray[np.float64]) -> int:
    """The round from which on rounds and jobs are few enough to be on the page; 0 for all but long runs."""
    first = max(0, time.size - 1 - MOST_ROUNDS)
    if left.size > MOST_JOBS:
        since = np.partition(left, left.size - MOST_JOBS - 1)[left.size - MOST_JOBS - 1]
        first = max(first, int(np.searchsorted(time, since, "right")))
    return max(0, min(first, time.size - 2))


def list_plane_figures(result: Result, row: NDArray[np.int64], first: int) -> dict[str, Any] | None:
    """Updates in the order of their rounds, with angle and type (-1: none yet), and the population's means by round.

    From round `first` on, at which the clients shown stand as `before` tells. None for algorithms that know no angle.
    """
    every = aggregated(result).sort_by(ORDER)
    if not every["angle"].drop_null():
        return None
    clients, rounds = every["client"].to_numpy(), every["round"].to_numpy()
    angle = angles(every)
    ends = np.searchsorted(rounds, np.arange(first, len(result.rounds)), "right")
    latest, active = np.full(row.size, np.nan), np.zeros(row.size, np.bool_)
    means: list[list[float | None]] = []
    for begin, end in zip([0, *ends[:-1]], ends, strict=True):
        active[clients[begin:end]] = True
        known = begin + np.flatnonzero(~np.isnan(angle[begin:end]))
        latest[clients[known]] = angle[known]
        there = latest[~np.isnan(latest)]
        means.append(
            [
                round(row.size / int(active.sum()), 4) if active.any() else None,
                round(float(there.mean()), 4) if there.size else None,
            ]
        )
    earlier, used = of_clients(every.slice(0, ends[0]), row), of_clients(every.slice(ends[0]), row)
    return {
        "before": stand(earlier, row),
        "row": row[used["client"].to_numpy()].tolist(),
        "round": used["round"].to_pylist(),
        "angle": brief_angles(angles(used)),
        "type": number_types(used).tolist(),
        "total": ends.tolist(),
        "means": means,
        "unit": "degrees" if getattr(result.experiment.algorithm, "similarity", "") == "cosine" else "",
    }


def stand(jobs: pa.Table, row: NDArray[np.int64]) -> dict[str, Any]:
    """The clients shown after these jobs, sorted by `ORDER`: updates, last angle and last type of each."""
    shown = int(row.max()) + 1
    at, theta, kind = row[jobs["client"].to_numpy()], angles(jobs), number_types(jobs)
    angle, last = np.full(shown, np.nan), np.full(shown, -1)
    angle[at[~np.isnan(theta)]] = theta[~np.isnan(theta)]
    last[at[kind >= 0]] = kind[kind >= 0]
    return {"count": np.bincount(at, minlength=shown).tolist(), "angle": brief_angles(angle), "type": last.tolist()}


def number_types(jobs: pa.Table) -> NDArray[np.int64]:
    """(J,) places in `TYPES`; -1 where a client has no type yet."""
    found: NDArray[np.int64] = pc.fill_null(pc.index_in(jobs["client_type"], pa.array(list(TYPES))), -1).to_numpy()
    return found


def brief_angles(values: NDArray[np.float64]) -> list[float | None]:
    """To a thousandth; None where there is none."""
    return [None if np.isnan(value) else round(value, 3) for value in values.tolist()]


def angles(jobs: pa.Table) -> NDArray[np.float64]:
    """(J,) theta of each job; NaN where there is none."""
    found: NDArray[np.float64] = jobs["angle"].fill_null(np.nan).to_numpy()
    return found


def rounded(times: NDArray[np.float64]) -> list[float]:
    """To a thousandth."""
    found: list[float] = np.round(times, 3).tolist()
    return found


def place_timeline(data: dict[str, Any], count: int) -> str:
    """The place of both pictures."""
    shown = len(data["clients"])
    first, last = data["first"], data["first"] + len(data["time"]) - 1
    when = f", in the last {last - first:,} of {last:,} rounds: as many as this page has room for" if first else ""
    whom = "All clients" if shown == count else f"{shown} of the {count:,} clients, from the fastest to the slowest"
    key = {"training": "training", "waiting": "arrived, waits in the buffer"}
    others = ("lost", "training, then lost"), ("rejected", "training, then rejected"), ("grey", "unfinished")
    key |= {shade: text for fate, (shade, text) in enumerate(others, 1) if fate in data["jobs"]["fate"]}
    caption = (
        f"{whom}, the fastest above{when}. A bar is a job, from start to arrival, every other one lighter; below it, "
        "the update that waits to be aggregated, often while its client trains again. An upright line is an "
        "aggregation. Point at a bar to read what became of it."
    )
    body = [
        '<section id="who"><h2>Who did what when</h2>',
        '<div class="bar" role="group" aria-label="Rounds shown"><span>rounds shown</span>'
        '<button data-wide="5">5</button><button data-wide="20">20</button><button data-wide="100">100</button>'
        '<button data-wide="0">all</button><label>from<input id="from" type="range" min="0" value="0"></label></div>',
        '<output id="window"></output><canvas id="timeline" role="img" aria-label="Timeline of clients"></canvas>',
        '<output id="job"></output>',
        legend(key),
        paragraph(caption),
    ]
    if data["plane"]:
        body += [
            "<h3>Speed and bias</h3>",
            '<canvas id="plane" role="img" aria-label="Clients by speed and angle"></canvas>',
            legend(TYPES | {"grey": "no type yet"}),
            paragraph(
                "A point is a client at the end of the rounds shown above, its path where it came from during them. "
                "Speed is its number of updates by the average client's; the angle lies between its last update and "
                "the global direction. The dashed lines are the population's means, which divide the four types; the "
                "colour is the type with which the client trained last."
            ),
        ]
    return "".join([*body, "<noscript><p>These two pictures need the page's own script.</p></noscript></section>"])


def legend(names: dict[str, str]) -> str:
    """Colours and what they stand for."""
    return f'<ul class="key">{"".join(f"<li style=--c:var(--{c})>{text}</li>" for c, text in names.items())}</ul>'
