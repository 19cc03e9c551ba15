"""What a person sees while a run lives, and when it ends. On stderr, and only on a terminal."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from fedqs_ray.core.rows import Progress as RunProgress
from fedqs_ray.runs.location import name_file

if TYPE_CHECKING:
    from fedqs_ray.experiments.comparison import Comparison
    from fedqs_ray.experiments.sweep import Trial
    from fedqs_ray.runs.result import Result


@contextmanager
def progress_line(quiet: bool) -> Iterator[Callable[[RunProgress], None]]:
    """A live line: round, accuracy, virtual time, updates a second, time left."""
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[status]}"),
        TimeRemainingColumn(),
    )
    visible = console.is_terminal and not quiet
    with Progress(*columns, console=console, transient=True, disable=not visible) as bar:
        task = bar.add_task("starting Ray", total=None, status="")
        began, first = 0.0, 0

        def show(progress: RunProgress) -> None:
            nonlocal began, first
            if not began:
                began = time.monotonic()
                bar.reset(task, total=progress.rounds, completed=progress.round)
                first = progress.updates
            speed = (progress.updates - first) / max(time.monotonic() - began, 1e-3)
            accuracy = "" if progress.accuracy is None else f"accuracy {progress.accuracy:.1%} · "
            status = f"{accuracy}virtual {progress.time:,.0f} s · {speed:,.0f} updates/s"
            if progress.retries:
                status += f" · {progress.retries} retries"
            bar.update(task, description="round", completed=progress.round, status=status)

        yield show


@contextmanager
def grid_progress(
    cells: int, rounds: int, quiet: bool
) -> Iterator[Callable[[str, RunProgress | Exception | str], None]]:
    """A live line for the whole grid, and a line for every run that ends: done, or what is said of its end."""
    console = Console(stderr=True, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.percentage:.0f}%"))
    visible = console.is_terminal and not quiet
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not visible) as bar:
        task = bar.add_task("runs", total=cells * rounds)
        at: dict[str, int] = {}

        def show(name: str, progress: RunProgress | Exception | str) -> None:
            if not isinstance(progress, RunProgress):
                if not quiet:
                    bar.console.print(f"{name}: {progress}", highlight=False, markup=False)
                at[name] = rounds
            else:
                if progress.round == rounds > at.get(name, 0) and not quiet:
                    bar.console.print(f"{name}: done", highlight=False)
                at[name] = progress.round
            bar.update(task, completed=sum(at.values()), description=f"{sum(n == rounds for n in at.values())} runs")

        yield show


def comparison_tables(comparison: Comparison, page: Path) -> None:
    """The comparison's tables and where its files are."""
    from fedqs_ray.experiments.comparison import list_differences, tabulate

    rows = comparison.cells.to_pylist()
    console = Console(stderr=True)
    console = Console(stderr=True, width=max(console.width, 180))  # a wrapped figure is worse than a long line
    for head, *lines in (tabulate(rows), list_differences(rows)):
        if lines:
            shown = Table(*head, box=None, padding=(0, 2, 0, 0))
            for line in lines:
                shown.add_row(*line)
            console.print(shown)
            console.print()
    console.print(f"files   {comparison.folder}\nreport  {page}", highlight=False, markup=False, soft_wrap=True)


def sweep_table(trials: Sequence[Trial], folder: Path) -> None:
    """The trials, best first, and where the files are."""
    from fedqs_ray.experiments.sweep import tabulate_trials

    console = Console(stderr=True)
    console = Console(stderr=True, width=max(console.width, 180))
    head, *lines = tabulate_trials(trials)
    shown = Table(*head, box=None, padding=(0, 2, 0, 0))
    for line in lines:
        shown.add_row(*map(escape, line))
    console.print(shown)
    again = f"fedqs run {shlex.quote(str(folder / 'best.toml'))}"
    places = f"\nbest     {trials[0].name}\nrun it   {again}\npicture  {folder / 'sweep.png'}"
    console.print(places, highlight=False, markup=False, soft_wrap=True)


def closing_table(result: Result, page: Path | None, *, stderr: bool = True) -> None:
    """The run's figures and where its files are."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for label, text in result.summary.lines().items():
        table.add_row(label, text)
    table.add_row("files", escape(result.place))
    shown = name_file(result.place, page.name) if page else f"fedqs report {shlex.quote(result.place)}"
    table.add_row("report", escape(shown))
    Console(stderr=stderr, soft_wrap=True, width=10_000).print(table)  # a name that wraps cannot be copied
