"""The command line. It parses first and imports heavy things later."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.core.text import hide_secrets
from fedqs_ray.runs.location import find_local_folder, name_file

if TYPE_CHECKING:
    from fedqs_ray.core.rows import Progress
    from fedqs_ray.runs.result import Result

SET_HELP = "override one setting; repeatable, the last of a key counts; none unsets what may be unset"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `fedqs`; returns the exit status: 0, 1 if a run had to stop, 2 for a user's mistake."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(format="fedqs: %(message)s", level=logging.WARNING)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except ConfigError as error:
        say(str(error))
        return 2
    except KeyboardInterrupt:
        say("interrupted")
        return 130


def say(text: str) -> None:
    """One line for people, whatever is in the names that it holds, but no secrets."""
    text = hide_secrets(text)
    print("fedqs:", "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text), file=sys.stderr)


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line in one line, as for any other mistake."""

    def error(self, message: str) -> NoReturn:
        """Print and exit."""
        say(f"{message} (see {self.prog} --help)")
        sys.exit(2)


def many_runs(command: argparse.ArgumentParser, set_help: str = SET_HELP) -> None:
    """The options of a command that makes many runs."""
    command.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help=set_help)
    command.add_argument("--out", metavar="DIR", required=True, help="the results' folder")
    command.add_argument("--quiet", action="store_true", help="no progress and no table")


def parser() -> argparse.ArgumentParser:
    """The parser of `fedqs`."""
    top = Parser(
        prog="fedqs",
        description="Semi-asynchronous federated learning, simulated with Ray actors.",
        epilog='Try "fedqs run", then "fedqs report" on the folder it names.',
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {version('fedqs_ray')}", help="show it and exit")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="run an experiment",
        description="Run an experiment. Every setting has a default, so `fedqs run` alone works.",
        add_help=False,
    )
    run.add_argument("-h", "--help", action=SettingsHelp, nargs=0, help="show this message and all settings")
    run.add_argument("config", nargs="?", metavar="CONFIG.toml", help="settings; those left out keep their default")
    run.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help=SET_HELP)
    run.add_argument("--out", metavar="DIR", help="the results' folder, or a URI; the same as --set run.out=DIR")
    run.add_argument(
        "--overwrite", action="store_true", help="replace the run that --out holds; what is no part of it stays"
    )
    run.add_argument("--report", action="store_true", help="write report.html at the end")
    run.add_argument("--quiet", action="store_true", help="no progress line and no closing table")
    run.set_defaults(command=run_command)

    resume = commands.add_parser(
        "resume",
        help="go on with a run from its newest checkpoint",
        description="Go on with a run that was killed or interrupted, from its newest checkpoint, to the same results "
        "as if nothing had happened. A finished run goes on with --set run.rounds=MORE.",
    )
    resume.add_argument("folder", metavar="DIR", help="a folder or URI that `fedqs run` wrote to")
    resume.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="a larger run.rounds, or what changes no result: run.address, run.wait_for_nodes, "
        "run.checkpoint_every, run.tensorboard, clients.actors, clients.clients_per_actor where training.cohort is 1",
    )
    resume.add_argument("--report", action="store_true", help="write report.html at the end")
    resume.add_argument("--quiet", action="store_true", help="no progress line and no closing table")
    resume.set_defaults(command=resume_command)

    compare = commands.add_parser(
        "compare",
        help="run several algorithms, seeds and scenarios side by side",
        description="Run a grid of experiments on one Ray session and write comparison.parquet, .md and .html. "
        "What --out holds already is not run again, so the same command goes on after an interruption. Under one "
        "seed every algorithm meets the same data, first model and arrivals.",
    )
    compare.add_argument("config", nargs="?", metavar="CONFIG.toml", help="what the runs have in common")
    compare.add_argument("--algorithms", type=names, required=True, metavar="A,B", help="such as fedavg,fedqs-avg")
    compare.add_argument("--seeds", type=numbers, default="0,1,2", metavar="N,N", help="(default: %(default)s)")
    compare.add_argument("--scenarios", type=names, default="", metavar="A,B", help="(default: the configuration's)")
    compare.add_argument(
        "--target",
        type=float,
        metavar="ACCURACY",
        help="for rounds to target, 0 to 1 (default: 95%% of the lowest best accuracy)",
    )
    many_runs(compare, f"{SET_HELP}; algorithm.KEY=VALUE goes to all of the algorithms that have it")
    compare.set_defaults(command=compare_command)

    tune = commands.add_parser(
        "tune",
        help="look for good settings",
        description="Draw settings from ranges, run each draw on one Ray session with Ray Tune, and stop the worse "
        "ones early (ASHA: after a ninth and a third of the rounds, the best third of those that came so far goes on). "
        "Writes sweep.parquet, .md and .png, and the best settings as best.toml. What --out holds already is not run "
        "again, so the same command goes on after an interruption, and a larger --samples from a smaller one.",
    )
    tune.add_argument("config", nargs="?", metavar="CONFIG.toml", help="what the trials have in common")
    tune.add_argument(
        "--param",
        action="append",
        required=True,
        metavar="SECTION.KEY=RANGE",
        help="log:LOW:HIGH or uniform:LOW:HIGH (whole numbers where the setting is one), or choice:A,B; repeatable",
    )
    tune.add_argument("--samples", type=int, default=20, metavar="N", help="trials in all (default: %(default)s)")
    many_runs(tune)
    tune.set_defaults(command=tune_command)

    watch = commands.add_parser(
        "watch",
        help="follow a run in the terminal",
        description="Follow a run, or look at a finished one: accuracy, loss, staleness, speed and counts as they "
        "grow. It only reads the folder, so Ctrl-C ends watching and never the run. It ends with the run: with status "
        "0 where the run finished, 1 where it stopped before. Where stdout is no terminal it prints a line whenever "
        "something is new.",
    )
    watch.add_argument("folder", metavar="DIR", help="a folder that `fedqs run` writes, or its URI")
    watch.set_defaults(command=watch_command)

    report = commands.add_parser("report", help="make report.html of a run", description="Make report.html of a run.")
    report.add_argument("folder", metavar="DIR", help="a folder or URI that `fedqs run` wrote to, even unfinished")
    report.set_defaults(command=report_command)

    data = commands.add_parser(
        "data",
        help="fetch a dataset",
        description="Fetch a dataset: Adult from OpenML, pictures with torchvision. Digits and synthetic need none.",
    )
    data.add_argument("name", choices=["adult", "cifar10", "cifar100", "emnist", "mnist"], help="the dataset")
    data.add_argument("--dir", metavar="DIR", help="where to put it (default: data/NAME)")
    data.set_defaults(command=data_command)

    settings = commands.add_parser("settings", help="print the settings' reference page (Markdown)")
    settings.set_defaults(command=settings_command)
    return top


def names(text: str) -> list[str]:
    """A comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def numbers(text: str) -> list[int]:
    """A comma-separated list of whole numbers; raises ValueError, which argparse reports."""
    return [int(part) for part in names(text)]


class SettingsHelp(argparse.Action):
    """`--help` with all settings below it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print and exit."""
        from fedqs_ray.config.reference import format_help

        print(f"{parser.format_help()}\n{format_help()}")
        parser.exit()


def run_command(arguments: argparse.Namespace) -> int:
    """`fedqs run`."""
    from fedqs_ray.config.loading import load_experiment

    experiment = load_experiment(arguments.config, arguments.set, out=arguments.out)
    source = Path(arguments.config).resolve().parent if arguments.config else None
    place = find_local_folder(experiment.run.out or "")
    if arguments.overwrite and experiment.run.out and place and source == place.resolve():
        raise ConfigError(f'run.out = "{experiment.run.out}": holds {arguments.config}; choose another folder')

    from fedqs_ray.experiment import run

    return attended(
        lambda on_progress: run(experiment, overwrite=arguments.overwrite, on_progress=on_progress), arguments
    )


def resume_command(arguments: argparse.Namespace) -> int:
    """`fedqs resume`."""
    from fedqs_ray.experiment import resume

    return attended(lambda on_progress: resume(arguments.folder, arguments.set, on_progress=on_progress), arguments)


def attended(start: Callable[[Callable[[Progress], None]], Result], arguments: argparse.Namespace) -> int:
    """A run, with a progress line, to whatever end."""
    from fedqs_ray.core.exceptions import RunInterrupted, SimulationStopped
    from fedqs_ray.progress import closing_table, progress_line

    with progress_line(quiet=arguments.quiet) as on_progress:
        try:
            result = start(on_progress)
        except SimulationStopped as stopped:
            say(f"{stopped}{stopped_report(stopped.folder) if arguments.report else ''}")
            return 1
        except RunInterrupted as interrupted:
            say(f"{interrupted}{stopped_report(interrupted.folder)}")
            return 130
    if arguments.report:
        from fedqs_ray.report.write import write_report
    page = write_report(result) if arguments.report else None
    if not arguments.quiet:
        closing_table(result, page)
    return 0


def stopped_report(folder: str | None) -> str:
    """Make the report of a run that stopped; returns what to say about it."""
    from fedqs_ray.runs.result import Result

    try:
        return f"; report: {made_report(Result(folder))}" if folder else ""
    except ConfigError:
        return "; there is nothing to report yet"


def made_report(result: Result) -> str:
    """Make a report; returns what to call it."""
    from fedqs_ray.report.write import write_report

    return name_file(result.place, write_report(result).name)


def compare_command(arguments: argparse.Namespace) -> int:
    """`fedqs compare`."""
    from fedqs_ray.config.loading import load_experiment, split_override

    if arguments.target is not None and not 0 < arguments.target < 1:
        raise ConfigError(f"--target = {arguments.target:g}: must be between 0 and 1")
    if not arguments.out.strip():
        raise ConfigError('--out = "": must name a folder')
    ours = [
        text for text in arguments.set if (keys := split_override(text)[0])[0] == "algorithm" and keys[1:] != ["name"]
    ]
    base = load_experiment(arguments.config, [text for text in arguments.set if text not in ours])

    from fedqs_ray.core.exceptions import SimulationStopped
    from fedqs_ray.grid import compare
    from fedqs_ray.progress import comparison_tables, grid_progress
    from fedqs_ray.report.write import write_report

    scenarios = arguments.scenarios or [base.scenario.name]
    total = len(arguments.algorithms) * len(arguments.seeds) * len(scenarios)
    with grid_progress(total, base.run.rounds, quiet=arguments.quiet) as on_progress:
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
        comparison_tables(found, page)
    return 0


def tune_command(arguments: argparse.Namespace) -> int:
    """`fedqs tune`."""
    from fedqs_ray.config.loading import load_experiment

    if not arguments.out.strip():
        raise ConfigError('--out = "": must name a folder')
    base = load_experiment(arguments.config, arguments.set)

    from fedqs_ray.core.exceptions import SimulationStopped
    from fedqs_ray.progress import grid_progress, sweep_table
    from fedqs_ray.runs.folder import require_local_folder
    from fedqs_ray.tuning import tune

    with grid_progress(arguments.samples, base.run.rounds, quiet=arguments.quiet) as on_progress:
        try:
            found = tune(base, arguments.param, arguments.samples, out=arguments.out, on_progress=on_progress)
        except SimulationStopped as stopped:
            say(f"{stopped}; the same command goes on from here")
            return 1
        except KeyboardInterrupt:
            say("interrupted; the same command goes on from here")
            return 130
    if not arguments.quiet:
        sweep_table(found, require_local_folder(arguments.out))
    return 0


def watch_command(arguments: argparse.Namespace) -> int:
    """`fedqs watch`."""
    from fedqs_ray.watching import watch

    return watch(arguments.folder)


def report_command(arguments: argparse.Namespace) -> int:
    """`fedqs report`."""
    from fedqs_ray.runs.result import Result

    try:
        print(made_report(Result(arguments.folder)))
    except OSError as error:
        raise ConfigError(f"{arguments.folder}: cannot be written: {error.strerror}") from None
    return 0


def data_command(arguments: argparse.Namespace) -> int:
    """`fedqs data`."""
    from fedqs_ray.tasks.download import download_adult, download_images

    folder = Path(arguments.dir or f"data/{arguments.name}")
    for path in download_adult(folder) if arguments.name == "adult" else download_images(arguments.name, folder):
        print(path)
    return 0


def settings_command(arguments: argparse.Namespace) -> int:  # noqa: ARG001
    """`fedqs settings`."""
    from fedqs_ray.config.reference import format_reference

    print(format_reference(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
