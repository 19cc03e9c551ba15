"""The command line's parser; it imports nothing heavy."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from typing import NoReturn

from fedqs_ray.core.text import hide_secrets

SET_HELP = "override one setting; repeatable, the last of a key counts; none unsets what may be unset"


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


def add_options(command: argparse.ArgumentParser, set_help: str = SET_HELP) -> None:
    """The options of a command that makes many runs."""
    command.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help=set_help)
    command.add_argument("--out", metavar="DIR", required=True, help="the results' folder")
    command.add_argument("--quiet", action="store_true", help="no progress and no table")


def make_parser() -> argparse.ArgumentParser:
    """The parser of `fedqs`."""
    top = Parser(
        prog="fedqs",
        description="Semi-asynchronous federated learning, simulated with Ray actors.",
        epilog='Try "fedqs run", then "fedqs report" on the folder it names.',
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {version('fedqs_ray')}", help="show it and exit")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND", dest="command")

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
        "run.checkpoint_every, run.tensorboard, clients.actors, clients.clients_per_actor where "
        "training.clients_per_step is 1",
    )
    resume.add_argument("--report", action="store_true", help="write report.html at the end")
    resume.add_argument("--quiet", action="store_true", help="no progress line and no closing table")

    compare = commands.add_parser(
        "compare",
        help="run several algorithms, seeds and scenarios side by side",
        description="Run a grid of experiments on one Ray session and write comparison.parquet, .md and .html. "
        "What --out holds already is not run again, so the same command goes on after an interruption. Under one "
        "seed every algorithm meets the same data, first model and arrivals.",
    )
    compare.add_argument("config", nargs="?", metavar="CONFIG.toml", help="what the runs have in common")
    compare.add_argument(
        "--algorithms", type=split_names, required=True, metavar="A,B", help="such as fedavg,fedqs-avg"
    )
    compare.add_argument("--seeds", type=split_numbers, default="0,1,2", metavar="N,N", help="(default: %(default)s)")
    compare.add_argument(
        "--scenarios", type=split_names, default="", metavar="A,B", help="(default: the configuration's)"
    )
    compare.add_argument(
        "--target",
        type=float,
        metavar="ACCURACY",
        help="for rounds to target, 0 to 1 (default: 95%% of the lowest best accuracy)",
    )
    add_options(compare, f"{SET_HELP}; algorithm.KEY=VALUE goes to all of the algorithms that have it")

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
    add_options(tune)

    watch = commands.add_parser(
        "watch",
        help="follow a run in the terminal",
        description="Follow a run, or look at a finished one: accuracy, loss, staleness, speed and counts as they "
        "grow. It only reads the folder, so Ctrl-C ends watching and never the run. It ends with the run: with status "
        "0 where the run finished, 1 where it stopped before. Where stdout is no terminal it prints a line whenever "
        "something is new.",
    )
    watch.add_argument("folder", metavar="DIR", help="a folder that `fedqs run` writes, or its URI")

    report = commands.add_parser("report", help="make report.html of a run", description="Make report.html of a run.")
    report.add_argument("folder", metavar="DIR", help="a folder or URI that `fedqs run` wrote to, even unfinished")

    data = commands.add_parser(
        "data",
        help="fetch a dataset",
        description="Fetch a dataset: Adult from OpenML, pictures with torchvision. Digits and synthetic need none.",
    )
    data.add_argument("name", choices=["adult", "cifar10", "cifar100", "emnist", "mnist"], help="the dataset")
    data.add_argument("--dir", metavar="DIR", help="where to put it (default: data/NAME)")

    commands.add_parser("settings", help="print the settings' reference page (Markdown)")
    return top


def split_names(text: str) -> list[str]:
    """A comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def split_numbers(text: str) -> list[int]:
    """A comma-separated list of whole numbers; raises ValueError, which argparse reports."""
    return [int(part) for part in split_names(text)]


class SettingsHelp(argparse.Action):
    """`--help` with all settings below it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print and exit."""
        from fedqs_ray.config.reference import format_help

        print(f"{parser.format_help()}\n{format_help()}")
        parser.exit()
