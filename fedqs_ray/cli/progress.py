"""Live progress on stderr, on terminals only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from fedqs_ray.core.rows import Progress as RunProgress

if TYPE_CHECKING:
    pass


@contextmanager
def show_progress(quiet: bool) -> Iterator[Callable[[RunProgress], None]]:
    """Show a live line: round, accuracy, virtual time, updates a second, time left."""
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
def show_grid_progress(
    cells: int, rounds: int, quiet: bool
) -> Iterator[Callable[[str, RunProgress | Exception | str], None]]:
    """Show a live line for the whole grid, and a line for every run that ends: done, or the reason of its end."""
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
