"""The inline executor: everything in this process, one thing after another. The oracle of the tests."""

from fedqs_ray.messages import Evaluation, Job, Layout, Update, Vector
from fedqs_ray.simulation.executor import Handle
from fedqs_ray.tasks.local import LocalTask


class InlineExecutor:
    """Trains a job when its result is asked for, so jobs that nobody needs are never trained."""

    def __init__(self, task: LocalTask) -> None:
        self.task = task
        self._jobs: dict[tuple[int, int], tuple[Vector, Vector | None, Vector | None]] = {}
        self._evaluations: dict[int, Evaluation] = {}

    def initial_model(self) -> tuple[Vector, Layout]:
        return self.task.initial_model()

    def samples(self) -> list[tuple[int, int, tuple[int, ...]]]:
        return self.task.data.summary()

    def put(self, vector: Vector) -> Vector:
        return vector

    def get(self, handle: Handle) -> Vector:
        return handle  # type: ignore[return-value]

    def submit(self, job: Job, model: Handle, previous: Handle | None, last_update: Handle | None) -> None:
        self._jobs[job.client, job.attempt] = (model, previous, last_update)  # type: ignore[assignment]

    def result(self, job: Job) -> Update:
        update = self.task.train(job, *self._jobs.pop((job.client, job.attempt)))
        return Update(update.delta, update.plan, update.samples, update.loss, update.finite, handle=update.delta)

    def discard(self, job: Job) -> None:
        del self._jobs[job.client, job.attempt]

    def evaluate(self, version: int, model: Handle) -> None:
        self._evaluations[version] = self.task.evaluate(model)  # type: ignore[arg-type]

    def evaluation(self, version: int, wait: bool) -> Evaluation | None:  # noqa: ARG002
        return self._evaluations.pop(version)
