"""report.html: one file that opens offline, and its pictures as SVG beside it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.results import pictures, population, served, timeline
from fedqs_ray.results.drawing import Fill, panel, paragraph, section, switched
from fedqs_ray.results.page import cards, write_page
from fedqs_ray.results.result import Result


def write(result: Result) -> Path:
    """Draw every picture and the page; returns the page's path. Pictures go to pictures/ in the folder.

    Raises `ConfigError` where the folder cannot be written, or its tables cannot be read.
    """
    try:
        return draw(result)
    except OSError as error:
        raise ConfigError(f"{result.place}: cannot write the report: {error.strerror or error}") from None


def draw(result: Result) -> Path:
    """The pictures and the page."""
    terms = f"{TERMS} {SIMULATED}" if result.experiment.run.clock == "virtual" else TERMS
    parts = [cards(result.summary.lines()), paragraph(terms), progress(result)]
    experiment, data = result.experiment, timeline.figures(result)
    count = experiment.clients.count
    parts.append(timeline.section(data, count))
    for title, caption, names in SECTIONS:
        panels = [drawn(result, name, partial(FILLS[name], result=result)) for name in names]
        parts.append(section(title, caption, panels))
    return write_page(
        result.folder / "report.html",
        f"{experiment.title} on {experiment.subject}",
        f"{count:,} clients, a round every {experiment.server.buffer_size} arrivals, "
        f"scenario {experiment.scenario.name}, partition {experiment.task.partition.name}, seed {experiment.seed}",
        "\n".join(parts),
        result.settings_file.read_text(encoding="utf-8"),
        data,
    )


def drawn(result: Result, name: str, fill: Fill) -> str:
    """One panel of the run."""
    return panel(name, result.folder / "pictures", fill)


def progress(result: Result) -> str:
    """Accuracy and loss, over what the reader chooses."""
    choices = {
        label: [
            drawn(result, f"accuracy_{column}", partial(pictures.draw_accuracy, result=result, column=column)),
            drawn(result, f"loss_{column}", partial(pictures.draw_loss, result=result, column=column)),
        ]
        for column, label in pictures.AXES.items()
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
    "work": pictures.draw_work,
    "durations": pictures.draw_durations,
    "losses": pictures.draw_losses,
    "staleness": pictures.draw_staleness,
    "staleness_spread": pictures.draw_staleness_spread,
    "client_types": population.draw_types,
    "feedback": population.draw_feedback,
    "learning_rate": population.draw_lr,
    "momentum": population.draw_momentum,
    "influence": population.draw_influence,
    "fairness": population.draw_fairness,
    "label_accuracy": served.draw_labels,
    "client_accuracy": served.draw_clients,
    "labels": population.draw_labels,
    "samples": population.draw_samples,
    "gradients": pictures.draw_gradients,
    "contraction": pictures.draw_contraction,
}
PICTURES = (*FILLS, *(f"{kind}_{column}" for kind in ("accuracy", "loss") for column in pictures.AXES))
"""What may lie in pictures/, without its ending."""
