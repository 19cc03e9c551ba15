"""Live view of a run: charts in a terminal, otherwise lines."""

import shlex
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from fedqs_ray.cli.charts import draw_chart
from fedqs_ray.cli.tables import show_summary
from fedqs_ray.runs.checkpoints import describe_resume
from fedqs_ray.runs.location import find_local_folder
from fedqs_ray.runs.monitor import SILENCE, RunMonitor, StoreMonitor
from fedqs_ray.runs.result import Result

SECONDS = 1.0
"""Real seconds between two looks."""


def watch_run(folder: str) -> int:
    """Follow the run in `folder` to its end; returns 0 if it finished, 1 if it stopped before, 130 after Ctrl-C.

    Draws on a terminal that can; elsewhere prints a line whenever something is new. Raises `ConfigError` if the
    folder holds no run.
    """
    place, console = find_local_folder(folder), Console(soft_wrap=True, highlight=False)
    view = RunMonitor(place) if place else StoreMonitor(folder)
    drawn = console.is_terminal and not console.is_dumb_terminal and console.encoding.lower().startswith("utf")
    try:
        if drawn:
            draw_screen(view, console)
        else:
            print_lines(view, console)
    except KeyboardInterrupt:
        return 130
    return conclude_watching(view, console)


def print_lines(view: RunMonitor, console: Console) -> None:
    """Print a line at every new round, and now and then one about silence."""
    shown, mentioned = -1, 0.0
    while True:
        if len(view.rounds) > shown:
            shown, mentioned = len(view.rounds), 0.0
            console.print(format_line(view), markup=False)
        elif view.quiet and view.silent > mentioned + SILENCE:
            mentioned = view.silent
            console.print(f"{view.state}{advise_resume(view)}", markup=False)
        if view.over:
            return
        time.sleep(SECONDS)
        view.look()


def format_line(view: RunMonitor) -> str:
    """Format the newest round in one line."""
    row, rounds = view.last(), view.experiment.run.rounds
    if not row:
        return "no round yet"
    return (
        f"round {row['round']} of {rounds}, accuracy {row['accuracy']:.2%}, loss {row['loss']:.4g}, virtual "
        f"{row['time']:,.0f} s, staleness {row['staleness_mean']:.2f}, {row['speed']:,.0f} updates/s, arrived "
        f"{row['arrived']:,}, lost {row['lost']:,}, rejected {row['rejected']:,}"
    )


def advise_resume(view: RunMonitor) -> str:
    """Advice about silence, or an end before the last round: the command to continue the run."""
    if view.reason:
        return describe_resume(Path(view.folder), str(view.folder))
    return f"; if the run was killed, `fedqs resume {shlex.quote(str(view.folder))}` goes on"


def draw_screen(view: RunMonitor, console: Console) -> None:
    """Draw the charts on an alternate screen until the run ends, and print them at the end."""
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while not view.over:
            live.update(compose_screen(view, *console.size), refresh=True)
            time.sleep(SECONDS)
            view.look()
    console.print(compose_screen(view, *console.size))


def compose_screen(view: RunMonitor, width: int, height: int) -> Group:
    """Compose the content of a screen of `width` times `height` characters."""
    row, experiment = view.last(), view.experiment
    what = f"{experiment.title} on {experiment.subject}, scenario {experiment.scenario.name}, seed {experiment.seed}"
    state = Text(f"  {view.state}", "green" if view.state in ("running", "finished") else "yellow")
    lines = [Text(what, "bold") + state, format_progress(view, width)]
    lines.append(format_counts(row))
    if view.quiet:
        lines.append(Text(advise_resume(view)[2:], "yellow"))
    across = min(3, max(1, width // 40))
    room = max(4, (height - len(lines) - 5) // 2)
    each = (width - 2 * (across - 1)) // across
    charts = [draw_chart(*shown, each, room) for shown in list_panels(view, across)]
    for first in range(0, len(charts), across):
        lines += [Text("  ").join(parts) for parts in zip(*charts[first : first + across], strict=True)]
    lines += list_newest(view, height - len(lines))
    for one in lines:
        one.truncate(width)
    return Group(*lines[:height])


def list_panels(view: RunMonitor, across: int) -> list[tuple[str, str, Any, Any, str, str]]:
    """List the charts of both rows: title, unit, x, y, text below, colour."""
    rounds, times = view.column("round"), view.column("time")
    row = view.last() or {"round": 0, "time": 0.0}
    by_round, by_time = f"to round {row['round']}", f"to virtual second {row['time']:,.0f}"
    accuracy, loss = 100 * view.column("accuracy"), view.column("loss")
    speed = ("speed", " updates/s", *view.speeds, by_round, "yellow")
    found = [
        ("accuracy", "%", rounds, accuracy, by_round, "blue"),
        ("loss", "", rounds, loss, by_round, "red"),
        ("staleness", " versions", rounds, view.column("staleness_mean"), by_round, "magenta"),
        ("accuracy", "%", times, accuracy, by_time, "blue"),
        ("loss", "", times, loss, by_time, "red"),
        speed,
    ]
    return {1: [found[0], found[1]], 2: [found[3], found[1], found[2], speed], 3: found}[across]


def format_progress(view: RunMonitor, width: int) -> Text:
    """Format the progress: 'round 55 of 200 ━━━━━━──── virtual 73 s, real 12 s, about 30 s to go'."""
    row, rounds = view.last(), view.experiment.run.rounds
    if not row:
        return Text(f"no round of {rounds} yet", "dim")
    done, size = row["round"] / rounds, min(30, width // 4)
    left = row["seconds"] / done * (1 - done) if done else np.nan
    text = f" virtual {row['time']:,.0f} s, real {row['seconds']:,.0f} s"
    text += f", about {left:,.0f} s to go" if not view.over and np.isfinite(left) else ""
    full = round(done * size)
    return Text.assemble(
        f"round {row['round']} of {rounds} ", ("━" * full, "green"), ("━" * (size - full), "dim"), text
    )


def format_counts(row: dict[str, Any]) -> Text:
    """Format the counts of jobs by outcome."""
    if not row:
        return Text()
    ended = row["arrived"] + row["lost"] + row["rejected"]
    return Text(
        f"dispatched {row['dispatched']:,}: arrived {row['arrived']:,}, lost {row['lost']:,}, "
        f"rejected {row['rejected']:,}, not ended {row['dispatched'] - ended:,}"
    )


def list_newest(view: RunMonitor, height: int) -> list[Text]:
    """List the last rows of the table, in `height` lines."""
    head = (
        f"{'round':>7}{'virtual s':>12}{'accuracy':>10}{'loss':>9}{'staleness':>16}{'train loss':>12}{'feedback':>10}"
    )
    lines = [Text(head, "dim")]
    for row in view.rounds.slice(max(0, len(view.rounds) - height + 1)).to_pylist():
        shown = {key: np.nan if value is None else value for key, value in row.items()}
        stale = f"{shown['staleness_mean']:.2f}, max {shown['staleness_max']:.0f}"
        lines.append(
            Text(
                f"{shown['round']:>7}{shown['time']:>12,.1f}{shown['accuracy']:>10.2%}{shown['loss']:>9.4g}{stale:>16}"
                f"{shown['train_loss']:>12.4g}{shown['feedback']:>10}".replace("nan%", "   -").replace("nan", "  -")
            )
        )
    return lines


def conclude_watching(view: RunMonitor, console: Console) -> int:
    """Print the summary of a run that ended; returns the exit status."""
    if view.finished:
        show_summary(Result(view.folder), None, stderr=False)
        return 0
    reason = view.reason or f"stopped after round {view.last().get('round', 0)} of {view.experiment.run.rounds}"
    console.print(f"{reason}{advise_resume(view)}", markup=False)
    return 1
