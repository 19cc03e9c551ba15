"""Whatever one node answers, a federation on Flower goes on with the others.

As a script, in the environment that test_flower.py makes, this file serves a grid of two nodes: what the first answers
makes no sense, the second is sound.

    python test_answers.py FILE
"""

import itertools
import json
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedqs_ray.core.types import Evaluation, Plan, Update
from fedqs_ray.runs.result import Result

BESIDE = runpy.run_path(str(Path(__file__).with_name("test_flower.py")), run_name="beside")
flower, environment, pytestmark = BESIDE["flower"], BESIDE["environment"], BESIDE["pytestmark"]
SIZE, PARAMETERS, ROUNDS = 3, 2, 3
ODD: dict[str, tuple[str, list[str]]] = {
    "nothing": ("fedavg", ["wrong length"]),
    "no plan": ("fedavg", ["wrong length"]),
    "no samples": ("fedqs-sgd", ["wrong length"]),
    "no samples, whose logarithm is asked for": ("mstep", ["wrong length"]),
    "negative samples": ("fedavg", ["wrong length"]),
    "a million million samples": ("fedavg", ["wrong length"]),
    "endless samples": ("fedavg", ["wrong length"]),
    "several numbers of samples": ("fedavg", ["wrong length"]),
    "a loss that is not finite": ("fedavg", ["wrong length"]),
    "no bytes": ("fedavg", ["wrong length"]),
    "bytes that seem to be an archive": ("fedavg", ["wrong length"]),
    "numbers in place of vectors": ("fedavg", ["wrong length"]),
    "too much to keep": ("ca2fl", ["wrong length"]),
    "too much to keep, of parameters alone": ("fedac", ["wrong length"]),
    "nothing to keep, where an update is longer": ("fedac", ["wrong length"]),
    "something to keep that is not finite": ("fedac", ["wrong length"]),
    "an endless angle": ("fedqs-sgd", ["wrong length"]),
    "a negative angle": ("fedqs-sgd", ["wrong length"]),
    "a negative rate": ("fedavg", ["wrong length"]),
    "a rate beyond float32": ("fedavg", ["wrong length"]),
    "a momentum of one": ("fedavg", ["wrong length"]),
    "an update that diverged": ("fedac", ["not finite"]),
    "an update of another length": ("fedavg", ["wrong length"]),
    "something to keep that nobody wants": ("fedavg", []),
}
"""What the first node answers, under which algorithm, and for what it is rejected."""


@pytest.fixture(scope="module")
def found(flower: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of every federation."""
    file = tmp_path_factory.mktemp("answers") / "found.json"
    command: list[str | Path] = [flower / "python", __file__, file]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads(file.read_text())
    return read


@pytest.mark.parametrize("odd", ODD)
def test_an_answer_that_makes_no_sense_is_rejected_and_ends_nothing(found: dict[str, Any], odd: str) -> None:
    rounds, rejected, rates = found[odd]
    assert rejected == ODD[odd][1]
    assert rounds == ROUNDS + 1
    assert all(0 <= rate < 1 for rate in rates)


def test_a_node_without_samples_says_so(found: dict[str, Any]) -> None:
    assert found["work"] == "0 training samples; must be at least 1 and below 2147483648"


def answers() -> dict[str, Callable[[Any], Any]]:
    """How the first node makes its answer of a parcel, by name."""
    from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

    from fedqs_ray.backends.flower.wire import write_update

    def sound(parcel: Any, **other: Any) -> Any:
        facts: dict[str, Any] = {"vector": ones(SIZE, 0.1), "plan": Plan(parcel.job.lr), "samples": 5, "loss": 1.0}
        return write_update(Update(**(facts | other), largest=0.1))

    def record(name: str, value: Any) -> Callable[[Any], Any]:
        return lambda parcel: RecordDict({**sound(parcel), name: value})

    def metrics(samples: Any) -> Callable[[Any], Any]:
        return record("metrics", MetricRecord({"num-examples": samples, "train-loss": 1.0}))

    def plan(text: str) -> Callable[[Any], Any]:
        return record("plan", ConfigRecord({"plan": text}))

    def data(held: bytes) -> Callable[[Any], Any]:
        return record("vectors", ArrayRecord({"delta": Array("float32", (SIZE,), "numpy.ndarray", held)}))

    def other(**facts: Any) -> Callable[[Any], Any]:
        return lambda parcel: sound(parcel, **facts)

    def ones(size: int, value: float = 1.0) -> Any:
        return np.full(size, value, np.float32)

    return {
        "sound": other(),
        "sound, for fedac": other(client_state=ones(PARAMETERS)),
        "nothing": lambda _: RecordDict(),
        "no plan": record("plan", ConfigRecord()),
        "no samples": metrics(0),
        "no samples, whose logarithm is asked for": metrics(0),
        "negative samples": metrics(-1),
        "a million million samples": metrics(10**12),
        "endless samples": metrics(float("inf")),
        "several numbers of samples": metrics([1, 2]),
        "a loss that is not finite": other(loss=float("nan")),
        "no bytes": data(b""),
        "bytes that seem to be an archive": data(b"PK\x03\x04xxxx"),
        "numbers in place of vectors": record("vectors", MetricRecord({"delta": 1.0})),
        "too much to keep": other(client_state=ones(7)),
        "too much to keep, of parameters alone": other(client_state=ones(SIZE)),
        "nothing to keep, where an update is longer": other(),
        "something to keep that is not finite": other(client_state=ones(PARAMETERS, np.nan)),
        "an endless angle": plan('{"lr": 0.1, "angle": -Infinity}'),
        "a negative angle": plan('{"lr": 0.1, "angle": -1.0}'),
        "a negative rate": plan('{"lr": -5.0}'),
        "a rate beyond float32": plan('{"lr": 1e300}'),
        "a momentum of one": plan('{"lr": 0.1, "momentum": 1.0}'),
        "an update that diverged": other(vector=ones(SIZE, np.nan), loss=float("nan")),
        "an update of another length": other(vector=ones(SIZE + 1)),
        "something to keep that nobody wants": other(client_state=ones(7)),
    }


class Grid:
    """Two nodes that answer at once."""

    def __init__(self, *answers: Callable[[Any], Any]) -> None:
        self.answers, self.replies, self.numbers = answers, dict[str, Any](), itertools.count()

    def get_node_ids(self) -> list[int]:
        return [1, 2]

    def push_messages(self, messages: list[Any]) -> list[str]:
        from flwr.app import Message

        from fedqs_ray.backends.flower.wire import read_request

        for message in messages:
            parcel, number = read_request(message.content), str(next(self.numbers))
            message.metadata.__dict__["_message_id"] = number
            self.replies[number] = Message(self.answers[parcel.job.client](parcel), reply_to=message)
        return [message.metadata.message_id for message in messages]

    def pull_messages(self, numbers: list[str]) -> list[Any]:
        return [self.replies.pop(number) for number in numbers]


def served(algorithm: str, first: Callable[[Any], Any], second: Callable[[Any], Any]) -> Any:
    """Versions, why answers were rejected, and the clients' learning rates."""
    from fedqs_ray.backends.flower import serve, settings
    from fedqs_ray.core.types import Layout

    own = {"algorithm.name": algorithm, "run.rounds": ROUNDS, "clients.count": 2, "server.buffer_size": 2}
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(("model", "mean"), ((PARAMETERS,), (SIZE - PARAMETERS,)), PARAMETERS)
        grid: Any = Grid(first, second)
        experiment = settings(own | {"run.out": f"{folder}/run"})
        model = np.zeros(SIZE, np.float32)
        result: Result = serve(grid, experiment, model, lambda _: Evaluation(0.5, 1.0), layout=layout)
        rows = result.arrivals.to_pylist()
        rejected = {row["rejection"] for row in rows if row["outcome"] == "rejected"}
        return len(result.rounds), sorted(rejected), result.clients["lr"].to_pylist()


def work() -> str:
    """What a node says that has no samples."""
    from flwr.app import Context, RecordDict

    from fedqs_ray.backends.flower import Trained, settings
    from fedqs_ray.backends.flower.client import run_request
    from fedqs_ray.backends.flower.wire import Parcel
    from fedqs_ray.core.types import Job, Thresholds

    job = Job(0, 0, 0, 0.0, 0.0, lost=False, lr=0.1, speed=None, thresholds=Thresholds())
    asked = settings({"algorithm.name": "fedavg"}).model_dump_json(exclude_none=True)
    parcel = Parcel(job, asked, SIZE, None, np.zeros(SIZE, np.float32), None)
    try:
        run_request(parcel, Context(1, 1, {}, RecordDict(), {}), lambda asked: Trained(asked.model, 0, 0.0), None)
    except ValueError as error:
        return str(error)
    return "nothing"


if __name__ == "__main__":
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
    made = answers()
    became: dict[str, Any] = {"work": work()}
    for name, (algorithm, _) in ODD.items():
        sound = made["sound, for fedac" if algorithm == "fedac" else "sound"]
        try:
            became[name] = served(algorithm, made[name], sound)
        except Exception as error:  # noqa: BLE001  what must not happen is shown by the test of this answer alone
            became[name] = 0, [f"{type(error).__name__}: {error}"], []
    Path(sys.argv[1]).write_text(json.dumps(became))
