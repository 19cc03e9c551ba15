"""report.html: one file that opens offline, and its figures as SVG files in pictures/."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from fedqs_ray.core.exceptions import RunFolderError
from fedqs_ray.report.figures_clients import (
    draw_fairness,
    draw_feedback,
    draw_influence,
    draw_labels,
    draw_lr,
    draw_momentum,
    draw_samples,
    draw_types,
)
from fedqs_ray.report.figures_fairness import draw_client_accuracy, draw_label_accuracy
from fedqs_ray.report.figures_run import (
    AXES,
    draw_accuracy,
    draw_contraction,
    draw_durations,
    draw_gradients,
    draw_loss,
    draw_losses,
    draw_staleness,
    draw_staleness_spread,
    draw_work,
)
from fedqs_ray.report.page import cards, write_page
from fedqs_ray.report.svg import Fill, panel, paragraph, section, switched
from fedqs_ray.report.timeline import list_figures, place_timeline
from fedqs_ray.runs.layout import PICTURES, REPORT
from fedqs_ray.runs.result import Result


def write_run_page(result: Result) -> Path:
    """Draw every picture and the page; returns the page's path. Pictures go to pictures/ in the folder.

    Raises `RunFolderError` where the folder cannot be written, or its tables cannot be read.
    """
    try:
        return draw(result)
    except OSError as error:
        raise RunFolderError(f"{result.place}: cannot write the report: {error.strerror or error}") from None


def draw(result: Result) -> Path:
    """The pictures and the page."""
    terms = f"{TERMS} {SIMULATED}" if result.experiment.run.clock == "virtual" else TERMS
    parts = [cards(result.summary.lines()), paragraph(terms), progress(result)]
    experiment, data = result.experiment, list_figures(result)
    count = experiment.clients.count
    parts.append(place_timeline(data, count))
    for title, caption, names in SECTIONS:
        panels = [drawn(result, name, partial(FILLS[name], result=result)) for name in names]
        parts.append(section(title, caption, panels))
    return write_page(
        result.folder / REPORT,
        f"{experiment.title} on {experiment.subject}",
        f"{count:,} clients, a round every {experiment.server.buffer_size} arrivals, "
        f"scenario {experiment.scenario.name}, partition {experiment.task.partition.name}, seed {experiment.seed}",
        "\n".join(parts),
        result.settings_file.read_text(encoding="utf-8"),
        data,
    )


def drawn(result: Result, name: str, fill: Fill) -> str:
    """One panel of the run."""
    return panel(name, result.folder / PICTURES, fill)


def progress(result: Result) -> str:
    """Accuracy and loss, over what the reader chooses."""
    choices = {
        label: [
            drawn(result, f"accuracy_{column}", partial(draw_accuracy, result=result, column=column)),
            drawn(result, f"loss_{column}", partial(draw_loss, result=result, column=column)),
        ]
        for column, label in AXES.items()
    }
    return switched("Accuracy and loss", "The global model on the test samples.", "over", choices)


TERMS = (
    "Rounds to 95%: when the accuracy, averaged over five evaluations, first was 95% of its best. Stability: how much "
    "it changes from one evaluation to the next in the last quarter."
)
SIMULATED = "Virtual time is simulated; updates/s are in real seconds."
SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "At work",
        "How many clients train and how many updates wait to be aggregated; how long the jobs took that ended, from "
        "dispatch to arrival or loss; and, where there are any, the jobs that came to nothing, and those that were "
        "done again because the actor that had them died.",
        ("work", "durations", "losses"),
    ),
    (
        "Staleness",
        "How many versions the global model had moved on between an update's start and its aggregation.",
        ("staleness", "staleness_spread"),
    ),
    (
        "Client types",
        "Who the updates came from, in each fortieth of the run; and how many asked the server for feedback, to count "
        "for more the rarer and the more biased their client is (FedQS, Mod 3).",
        ("client_types", "feedback"),
    ),
    (
        "Learning rate and momentum",
        "What the updates were trained with, by the type of their clients (by their speed, under algorithms without "
        "types): the median of each fortieth of the run, and the middle 80%.",
        ("learning_rate", "momentum"),
    ),
    (
        "Who contributed how much",
        "The aggregation weight that each client collected over the run, as part of everybody's, and its part of all "
        "training samples. On the dashed line, it counts as much as its data.",
        ("influence", "fairness"),
    ),
    (
        "Who is served how well",
        "The last model: on the test samples of each label, and on each client's own validation samples, one point a "
        "client. Clients that contributed little stand to the left; where they differ much, the scale is logarithmic. "
        "The larger a point, the more samples: of a small one little is known, since with three samples accuracy can "
        "only be 0, 33, 67 or 100%. The three clients with the lowest accuracy have their number beside them, and "
        "their name if the data have names. Clients without validation samples are left out.",
        ("label_accuracy", "client_accuracy"),
    ),
    (
        "Who holds what",
        "The labels of each client's samples (training and validation together), and how many it has.",
        ("labels", "samples"),
    ),
    (
        "What the bounds speak of",
        "How far the clients' gradients lie apart and how long they are, estimated from each round's updates; and the "
        "test loss with a contraction to a floor fitted to it. docs/theory.md says what these are and are not.",
        ("gradients", "contraction"),
    ),
)
FILLS: dict[str, Callable[..., str | None]] = {
    "work": draw_work,
    "durations": draw_durations,
    "losses": draw_losses,
    "staleness": draw_staleness,
    "staleness_spread": draw_staleness_spread,
    "client_types": draw_types,
    "feedback": draw_feedback,
    "learning_rate": draw_lr,
    "momentum": draw_momentum,
    "influence": draw_influence,
    "fairness": draw_fairness,
    "label_accuracy": draw_label_accuracy,
    "client_accuracy": draw_client_accuracy,
    "labels": draw_labels,
    "samples": draw_samples,
    "gradients": draw_gradients,
    "contraction": draw_contraction,
}
