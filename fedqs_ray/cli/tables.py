"""Tables at the end of a command."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedqs_ray.runs.location import name_file

if TYPE_CHECKING:
    from fedqs_ray.experiments.comparison import Comparison
    from fedqs_ray.experiments.sweep import Sweep
    from fedqs_ray.runs.result import Result


def show_comparison(comparison: Comparison, page: Path) -> None:
    """Show the comparison's tables and the places of its files."""
    from fedqs_ray.experiments.comparison import list_differences, tabulate_runs

    rows = comparison.cells.to_pylist()
    console = Console(stderr=True)
    console = Console(stderr=True, width=max(console.width, 180))  # long lines instead of wrapped figures
    for head, *lines in (tabulate_runs(rows), list_differences(rows)):
        if lines:
            shown = Table(*head, box=None, padding=(0, 2, 0, 0))
            for line in lines:
                shown.add_row(*line)
            console.print(shown)
            console.print()
    console.print(f"files   {comparison.folder}\nreport  {page}", highlight=False, markup=False, soft_wrap=True)


def show_sweep(sweep: Sweep, picture: Path) -> None:
    """Show the trials, best first, and the places of their files."""
    from fedqs_ray.experiments.sweep import tabulate_trials

    console = Console(stderr=True)
    console = Console(stderr=True, width=max(console.width, 180))
    head, *lines = tabulate_trials(sweep.trials)
    shown = Table(*head, box=None, padding=(0, 2, 0, 0))
    for line in lines:
        shown.add_row(*map(escape, line))
    console.print(shown)
    again = f"fedqs run {shlex.quote(str(sweep.folder / 'best.toml'))}"
    places = f"\nbest     {sweep.trials[0].name}\nrun it   {again}\npicture  {picture}"
    console.print(places, highlight=False, markup=False, soft_wrap=True)


def show_summary(result: Result, page: Path | None, *, stderr: bool = True) -> None:
    """Show the run's figures and the places of its files."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for label, text in result.summary.lines().items():
        table.add_row(label, text)
    table.add_row("files", escape(result.place))
    shown = name_file(result.place, page.name) if page else f"fedqs report {shlex.quote(result.place)}"
    table.add_row("report", escape(shown))
    Console(stderr=stderr, soft_wrap=True, width=10_000).print(table)  # a name that wraps cannot be copied
