"""Commands of `fedqs`. Heavy modules are imported after the arguments were parsed."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedqs_ray.core.exceptions import ConfigError, FedqsError, RunFolderError
from fedqs_ray.runs.location import find_local_folder, name_file

if TYPE_CHECKING:
    from fedqs_ray.core.rows import Progress
    from fedqs_ray.runs.result import Result
from fedqs_ray.cli.parser import make_parser, say


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `fedqs`. Exit status: 0; 1 if a run stopped; 2 for a user's mistake; 130 after Ctrl-C."""
    arguments = make_parser().parse_args(argv)
    logging.basicConfig(format="fedqs: %(message)s", level=logging.WARNING)
    try:
        return COMMANDS[arguments.command](arguments)
    except FedqsError as error:
        say(str(error))
        return 2
    except KeyboardInterrupt:
        say("interrupted")
        return 130


def run_command(arguments: argparse.Namespace) -> int:
    """Execute `fedqs run`."""
    from fedqs_ray.config.loading import load_experiment

    experiment = load_experiment(arguments.config, arguments.set, out=arguments.out)
    source = Path(arguments.config).resolve().parent if arguments.config else None
    place = find_local_folder(experiment.run.out or "")
    if arguments.overwrite and experiment.run.out and place and source == place.resolve():
        raise ConfigError(f'run.out = "{experiment.run.out}": holds {arguments.config}; choose another folder')

    from fedqs_ray.experiments.run import run

    return attend_run(
        lambda on_progress: run(experiment, overwrite=arguments.overwrite, on_progress=on_progress), arguments
    )


def resume_command(arguments: argparse.Namespace) -> int:
    """Execute `fedqs resume`."""
    from fedqs_ray.experiments.run import resume

    return attend_run(lambda on_progress: resume(arguments.folder, arguments.set, on_progress=on_progress), arguments)


def attend_run(start: Callable[[Callable[[Progress], None]], Result], arguments: argparse.Namespace) -> int:
    """Execute a run with a progress line, and show its end; returns the exit status."""
    from fedqs_ray.cli.progress import show_progress
    from fedqs_ray.cli.tables import show_summary
    from fedqs_ray.core.exceptions import RunInterrupted, SimulationStopped

    with show_progress(quiet=arguments.quiet) as on_progress:
        try:
            result = start(on_progress)
        except SimulationStopped as stopped:
            say(f"{stopped}{report_stopped(stopped.folder) if arguments.report else ''}")
            return 1
        except RunInterrupted as interrupted:
            say(f"{interrupted}{report_stopped(interrupted.folder)}")
            return 130
    if arguments.report:
        from fedqs_ray.report.write import write_report
    page = write_report(result) if arguments.report else None
    if not arguments.quiet:
        show_summary(result, page)
    return 0


def report_stopped(folder: str | None) -> str:
    """Make the report of a run that stopped; returns the end of the message about it."""
    from fedqs_ray.runs.result import Result

    try:
        return f"; report: {make_report(Result(folder))}" if folder else ""
    except FedqsError:
        return "; there is nothing to report yet"


def make_report(result: Result) -> str:
    """Make a report; returns its name for messages."""
    from fedqs_ray.report.write import write_report

    return name_file(result.place, write_report(result).name)


def compare_command(arguments: argparse.Namespace) -> int:
    """Execute `fedqs compare`."""
    from fedqs_ray.config.loading import load_experiment, split_override

    if arguments.target is not None and not 0 < arguments.target < 1:
        raise ConfigError(f"--target = {arguments.target:g}: must be between 0 and 1")
    if not arguments.out.strip():
        raise ConfigError('--out = "": must name a folder')
    ours = [
        text for text in arguments.set if (keys := split_override(text)[0])[0] == "algorithm" and keys[1:] != ["name"]
    ]
    base = load_experiment(arguments.config, [text for text in arguments.set if text not in ours])

    from fedqs_ray.cli.progress import show_grid_progress
    from fedqs_ray.cli.tables import show_comparison
    from fedqs_ray.core.exceptions import SimulationStopped
    from fedqs_ray.experiments.compare import compare
    from fedqs_ray.report.write import write_report

    scenarios = arguments.scenarios or [base.scenario.name]
    total = len(arguments.algorithms) * len(arguments.seeds) * len(scenarios)
    with show_grid_progress(total, base.run.rounds, quiet=arguments.quiet) as on_progress:
        try:
            found = compare(
                base, arguments.algorithms, arguments.seeds, scenarios,
                settings=ours, out=arguments.out, target=arguments.target, on_progress=on_progress,
            )  # fmt: skip
        except SimulationStopped as stopped:
            say(f"{stopped}; the same command goes on from here")
            return 1
    page = write_report(found)
    if not arguments.quiet:
        show_comparison(found, page)
    return 0


def tune_command(arguments: argparse.Namespace) -> int:
    """Execute `fedqs tune`."""
    from fedqs_ray.config.loading import load_experiment

    if not arguments.out.strip():
        raise ConfigError('--out = "": must name a folder')
    base = load_experiment(arguments.config, arguments.set)

    from fedqs_ray.cli.progress import show_grid_progress
    from fedqs_ray.cli.tables import show_sweep
    from fedqs_ray.core.exceptions import SimulationStopped
    from fedqs_ray.experiments.tune import tune
    from fedqs_ray.report.write import write_report

    with show_grid_progress(arguments.samples, base.run.rounds, quiet=arguments.quiet) as on_progress:
        try:
            found = tune(base, arguments.param, arguments.samples, out=arguments.out, on_progress=on_progress)
        except SimulationStopped as stopped:
            say(f"{stopped}; the same command goes on from here")
            return 1
        except KeyboardInterrupt:
            say("interrupted; the same command goes on from here")
            return 130
    picture = write_report(found)
    if not arguments.quiet:
        show_sweep(found, picture)
    return 0


def watch_command(arguments: argparse.Namespace) -> int:
    """Execute `fedqs watch`."""
    from fedqs_ray.cli.watch import watch_run

    return watch_run(arguments.folder)


def report_command(arguments: argparse.Namespace) -> int:
    """Execute `fedqs report`."""
    from fedqs_ray.runs.result import Result

    try:
        print(make_report(Result(arguments.folder)))
    except OSError as error:
        raise RunFolderError(f"{arguments.folder}: cannot be written: {error.strerror}") from None
    return 0


def data_command(arguments: argparse.Namespace) -> int:
    """Execute `fedqs data`."""
    from fedqs_ray.tasks.download import download_adult, download_images

    folder = Path(arguments.dir or f"data/{arguments.name}")
    for path in download_adult(folder) if arguments.name == "adult" else download_images(arguments.name, folder):
        print(path)
    return 0


def settings_command(arguments: argparse.Namespace) -> int:  # noqa: ARG001
    """Execute `fedqs settings`."""
    from fedqs_ray.config.reference import format_reference

    print(format_reference(), end="")
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": run_command,
    "resume": resume_command,
    "compare": compare_command,
    "tune": tune_command,
    "watch": watch_command,
    "report": report_command,
    "data": data_command,
    "settings": settings_command,
}
"""Function of each command; the options are in parser.py."""
