"""The ledger: every dispatched job ends in exactly one row, every version in exactly one row.

Rows of versions wait here for their evaluation, which never holds up the loop, and go out in order.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.interfaces import Executor, Handle, Recorder, fetch_delta
from fedqs_ray.core.rows import ClientRow, JobRow, LabelRow, Progress, RoundRow
from fedqs_ray.core.types import Job, Layout, Outcome, Rejection, Update, Vector
from fedqs_ray.simulation.buffer import Entry
from fedqs_ray.simulation.client_table import ClientTable
from fedqs_ray.simulation.convergence import estimate_gradients


class Ledger:
    """Turns what happened into rows for the recorder."""

    def __init__(self, experiment: Experiment, executor: Executor, recorder: Recorder) -> None:
        self.experiment, self.executor, self.recorder = experiment, executor, recorder
        self.dispatched = 0
        self.ended: Counter[Outcome] = Counter()
        self.accuracy: float | None = None
        """Of the newest version whose evaluation is there."""
        self.loss: float | None = None
        """Likewise, on the test samples."""
        self.labels: Sequence[tuple[int, int]] = ()
        """Likewise, of each label; see `Evaluation`."""
        self.staleness: float | None = None
        """Mean over the newest version's updates."""
        self.measured: int | None = None
        """The newest version whose evaluation is there; None where that was before the run was resumed."""
        self.news: list[tuple[int, float]] = []
        """Versions that were evaluated, and their accuracies, since `progress` was told."""
        self.waiting: deque[RoundRow] = deque()
        """Rows of versions that are not written yet."""
        self._measured: set[int] = set()
        """Waiting versions whose evaluation was asked for."""

    def end(
        self,
        job: Job,
        outcome: Outcome,
        update: Update | None = None,
        round: int | None = None,
        staleness: int | None = None,
        weight: float | None = None,
        rejection: Rejection | None = None,
    ) -> None:
        """The one row of a job."""
        row = JobRow(
            job.client,
            job.attempt,
            job.version,
            job.start,
            job.end,
            outcome,
            round=round,
            staleness=staleness,
            weight=weight,
            rejection=rejection,
        )
        if update is not None:
            row = replace(
                row,
                samples=update.samples,
                client_type=update.plan.client_type,
                lr=update.plan.lr,
                momentum=update.plan.momentum,
                feedback=update.plan.feedback,
                angle=update.plan.angle,
                train_loss=update.loss,
            )
        self.recorder.job(row)
        self.ended[outcome] += 1

    def publish(
        self, version: int, time: float, handle: Handle, parameters: int, entries: Sequence[Entry] = ()
    ) -> None:
        """The row of a version, made at virtual `time` out of `entries`; its evaluation is asked for."""
        staleness = [version - 1 - entry.job.version for entry in entries]
        losses = [entry.update.loss for entry in entries]
        vectors = (fetch_delta(self.executor, entry.job, entry.update) for entry in entries)
        theory = self.experiment.run.theory and entries
        found = estimate_gradients(entries, vectors, self.experiment.training, parameters) if theory else None
        self.staleness = float(np.mean(staleness)) if staleness else None
        self.waiting.append(
            RoundRow(
                round=version,
                time=time,
                accuracy=None,
                loss=None,
                staleness_mean=self.staleness,
                staleness_max=max(staleness, default=None),
                feedback=sum(entry.update.plan.feedback for entry in entries),
                train_loss=float(np.mean(losses)) if losses else None,
                dispatched=self.dispatched,
                arrived=self.ended["arrived"],
                lost=self.ended["lost"],
                rejected=self.ended["rejected"],
                divergence=found.divergence if found else None,
                gradient_bound=found.gradient_bound if found else None,
            )
        )
        if version % self.experiment.run.eval_every == 0:
            self.measure(version, handle)
        self.collect(wait=False)

    def measure(self, version: int, handle: Handle) -> None:
        """Ask for a version's accuracy and loss on the test samples."""
        self._measured.add(version)
        self.executor.evaluate(version, handle)

    def collect(self, wait: bool) -> None:
        """Write the versions whose evaluation is there, in order; `wait` for all of them.

        A newest version that is not to be measured stays: it may be the last one, which always is.
        """
        while self.waiting:
            row = self.waiting[0]
            if row.round in self._measured:
                found = self.executor.evaluation(row.round, wait)
                if found is None:
                    return
                row = replace(row, accuracy=found.accuracy, loss=found.loss)
                self.accuracy, self.loss, self.labels = found.accuracy, found.loss, found.labels
                self.measured = row.round
                self.news.append((row.round, found.accuracy))
                self._measured.remove(row.round)
            elif len(self.waiting) == 1:
                return
            self.recorder.round(row)
            self.waiting.popleft()

    def progress(self, version: int, now: float, training: int, buffered: int) -> Progress:
        """Where the run stands at virtual time `now`."""
        return Progress(
            round=version,
            rounds=self.experiment.run.rounds,
            time=now,
            updates=self.ended["arrived"],
            accuracy=self.accuracy,
            evaluations=tuple(self.news),
            loss=self.loss,
            staleness=self.staleness,
            lost=self.ended["lost"],
            rejected=self.ended["rejected"],
            training=training,
            buffered=buffered,
        )

    def close(self, version: int, clients: ClientTable, layout: Layout, model: Vector, handle: Handle) -> None:
        """Write what waits, the last model, and whom it serves how well."""
        if self.waiting and self.waiting[-1].round not in self._measured:
            self.measure(self.waiting[-1].round, handle)
        self.collect(wait=True)
        if self.measured != version:  # in another life, before the run was resumed
            self.executor.evaluate(version, handle)
            again = self.executor.evaluation(version, wait=True)
            self.labels = again.labels if again else ()
        census, right = self.executor.census(), self.executor.validate(handle)
        rows = [
            ClientRow(
                client=client,
                samples=train,
                validation_samples=validation,
                labels=tuple(labels),
                dispatched=int(clients.attempts[client]),
                aggregated=int(clients.aggregated[client]),
                lr=float(clients.lr[client]),
                angle=None if np.isnan(clients.angle[client]) else float(clients.angle[client]),
                accuracy=None if right is None or not validation else int(right[client]) / validation,
                name=census.names[client] if census.names else None,
            )
            for client, (train, validation, labels) in enumerate(
                zip(census.train.tolist(), census.validation.tolist(), census.labels.tolist(), strict=True)
            )
        ]
        named = dict(enumerate(census.label_names))
        labels = [
            LabelRow(label, count, good / count if count else None, named.get(label))
            for label, (count, good) in enumerate(self.labels)
        ]
        self.recorder.finish(rows, labels, layout.split(model))
