"""Parser of the command line; imports nothing heavy."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from typing import NoReturn

from fedqs_ray.core.text import hide_secrets

SET_HELP = "override one setting; repeatable, the last of a key counts; none unsets an optional setting"


def say(text: str) -> None:
    """Print a message on stderr in one line, without secrets and with unprintable characters escaped."""
    text = hide_secrets(text)
    print("fedqs:", "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text), file=sys.stderr)


class Parser(argparse.ArgumentParser):
    """Argument parser with error messages in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with status 2."""
        say(f"{message} (see {self.prog} --help)")
        sys.exit(2)


def add_options(command: argparse.ArgumentParser, set_help: str = SET_HELP) -> None:
    """Add the options of a command that makes many runs."""
    command.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help=set_help)
    command.add_argument("--out", metavar="DIR", required=True, help="the results' folder")
    command.add_argument("--quiet", action="store_true", help="no progress and no table")


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of `fedqs`."""
    top = Parser(
        prog="fedqs",
        description="Semi-asynchronous federated learning, simulated with Ray actors.",
        epilog='Try "fedqs run", then "fedqs report" on the folder it names.',
    )
    top.add_argument(
        "--version", action="version", version=f"%(prog)s {version('fedqs_ray')}", help="show the version and exit"
    )
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
    run.add_argument("--overwrite", action="store_true", help="replace the run in --out; other files there stay")
    run.add_argument("--report", action="store_true", help="write report.html at the end")
    run.add_argument("--quiet", action="store_true", help="no progress line and no closing table")

    resume = commands.add_parser(
        "resume",
        help="continue a run from its newest checkpoint",
        description="Continue a run that was killed or interrupted, from its newest checkpoint, to the same results "
        "as without the interruption. A finished run continues with --set run.rounds=MORE.",
    )
    resume.add_argument("folder", metavar="DIR", help="a folder or URI that `fedqs run` wrote to")
    resume.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="a larger run.rounds, or a setting without influence on results: run.address, run.wait_for_nodes, "
        "run.checkpoint_every, run.tensorboard, clients.actors, clients.clients_per_actor where "
        "training.clients_per_step is 1",
    )
    resume.add_argument("--report", action="store_true", help="write report.html at the end")
    resume.add_argument("--quiet", action="store_true", help="no progress line and no closing table")

    compare = commands.add_parser(
        "compare",
        help="run several algorithms, seeds and scenarios side by side",
        description="Run a grid of experiments on one Ray session and write comparison.parquet, .md and .html. "
        "Runs in --out are not repeated, so the same command continues after an interruption. Under one "
        "seed every algorithm meets the same data, first model and arrivals.",
    )
    compare.add_argument("config", nargs="?", metavar="CONFIG.toml", help="settings of all runs")
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
        help="search for good settings",
        description="Draw settings from ranges, run each draw on one Ray session with Ray Tune, and stop the worse "
        "ones early (ASHA: after a ninth and a third of the rounds, the best third of the trials there continues). "
        "Writes sweep.parquet, .md and .png, and the best settings as best.toml. Trials in --out are not "
        "repeated, so the same command continues after an interruption, and a larger --samples adds trials.",
    )
    tune.add_argument("config", nargs="?", metavar="CONFIG.toml", help="settings of all trials")
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
        description="Follow a run, or look at a finished one: accuracy, loss, staleness, speed and counts of jobs. It "
        "only reads the folder, so Ctrl-C ends watching and never the run. It ends with the run: with status 0 if the "
        "run finished, 1 if it stopped before. If stdout is no terminal, it prints a line at every new round.",
    )
    watch.add_argument("folder", metavar="DIR", help="a folder that `fedqs run` writes to, or its URI")

    report = commands.add_parser("report", help="make report.html of a run", description="Make report.html of a run.")
    report.add_argument("folder", metavar="DIR", help="a folder or URI that `fedqs run` wrote to, even unfinished")

    data = commands.add_parser(
        "data",
        help="download a dataset",
        description="Download a dataset: Adult from OpenML, pictures with torchvision. Digits and synthetic need none.",
    )
    data.add_argument("name", choices=["adult", "cifar10", "cifar100", "emnist", "mnist"], help="the dataset")
    data.add_argument("--dir", metavar="DIR", help="its folder (default: data/NAME)")

    commands.add_parser("settings", help="print the settings' reference page (Markdown)")
    return top


def split_names(text: str) -> list[str]:
    """Split a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def split_numbers(text: str) -> list[int]:
    """Split a comma-separated list of whole numbers. Raises `ArgumentTypeError`."""
    try:
        return [int(part) for part in split_names(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: must be whole numbers, such as 0,1,2") from None


class SettingsHelp(argparse.Action):
    """`--help` followed by all settings."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print the help and exit."""
        from fedqs_ray.config.reference import format_help

        print(f"{parser.format_help()}\n{format_help()}")
        parser.exit()
