"""The ledger: every dispatched job ends in exactly one row, every version in exactly one row.

Rows of versions wait here for their evaluation, which never holds up the loop, and go out in order.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.interfaces import Arrival, Executor, Recorder, fetch_delta
from fedqs_ray.core.rows import ClientRow, JobRow, LabelRow, Progress, RoundRow
from fedqs_ray.core.types import Evaluation, Job, Layout, Outcome, Rejection, Update
from fedqs_ray.simulation.convergence import estimate_gradients
from fedqs_ray.simulation.state import ServerState


class Ledger:
    """Turns what happened into rows for the recorder."""

    def __init__(self, experiment: Experiment, executor: Executor, recorder: Recorder, state: ServerState) -> None:
        self.experiment, self.executor, self.recorder, self.state = experiment, executor, recorder, state
        self.evaluation: Evaluation | None = None
        """Of the newest version whose evaluation is there."""
        self.evaluated: int | None = None
        """That version; None where it is from before the run was resumed."""
        self.staleness: float | None = None
        """Mean over the newest version's updates."""
        self.pending_evaluations: list[tuple[int, float]] = []
        """Versions that were evaluated since the last progress, and their accuracies."""
        self.waiting: deque[RoundRow] = deque()
        """Rows of versions that are not written yet."""
        self._asked: set[int] = set()
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

    def publish(self, time: float, parameters: int, arrivals: Sequence[Arrival] = ()) -> None:
        """The row of the newest version, made at virtual `time` out of `arrivals`; its evaluation is asked for."""
        state, version = self.state, self.state.version
        staleness = [arrival.staleness for arrival in arrivals]
        losses = [arrival.update.loss for arrival in arrivals]
        vectors = (fetch_delta(self.executor, arrival.job, arrival.update) for arrival in arrivals)
        theory = self.experiment.run.theory and arrivals
        found = estimate_gradients(arrivals, vectors, self.experiment.training, parameters) if theory else None
        self.staleness = float(np.mean(staleness)) if staleness else None
        self.waiting.append(
            RoundRow(
                round=version,
                time=time,
                accuracy=None,
                loss=None,
                staleness_mean=self.staleness,
                staleness_max=max(staleness, default=None),
                feedback=sum(arrival.feedback for arrival in arrivals),
                train_loss=float(np.mean(losses)) if losses else None,
                dispatched=state.dispatched,
                arrived=state.ended["arrived"],
                lost=state.ended["lost"],
                rejected=state.ended["rejected"],
                divergence=found.divergence if found else None,
                gradient_bound=found.gradient_bound if found else None,
            )
        )
        if version % self.experiment.run.eval_every == 0:
            self.ask()
        self.collect(wait=False)

    def ask(self) -> None:
        """Ask for the evaluation of the newest version on the test samples."""
        self._asked.add(self.state.version)
        self.executor.evaluate(self.state.version, self.state.newest.handle)

    def collect(self, wait: bool) -> None:
        """Write the versions whose evaluation is there, in order; `wait` for all of them.

        A newest version that is not to be evaluated stays: it may be the last one, which always is.
        """
        while self.waiting:
            row = self.waiting[0]
            if row.round in self._asked:
                found = self.executor.evaluation(row.round, wait)
                if found is None:
                    return
                row = replace(row, accuracy=found.accuracy, loss=found.loss)
                self.evaluation, self.evaluated = found, row.round
                self.pending_evaluations.append((row.round, found.accuracy))
                self._asked.remove(row.round)
            elif len(self.waiting) == 1:
                return
            self.recorder.round(row)
            self.waiting.popleft()

    def progress(self, now: float, training: int) -> Progress:
        """Where the run stands at virtual time `now`, with so many jobs under way."""
        state = self.state
        return Progress(
            round=state.version,
            rounds=self.experiment.run.rounds,
            time=now,
            updates=state.ended["arrived"],
            accuracy=self.evaluation.accuracy if self.evaluation else None,
            evaluations=tuple(self.pending_evaluations),
            loss=self.evaluation.loss if self.evaluation else None,
            staleness=self.staleness,
            lost=state.ended["lost"],
            rejected=state.ended["rejected"],
            training=training,
            buffered=len(state.buffer.arrivals),
        )

    def close(self, layout: Layout) -> None:
        """Write what waits, the last model, and how well it serves each label and client."""
        last = self.state.newest
        if self.waiting and self.waiting[-1].round not in self._asked:
            self.ask()
        self.collect(wait=True)
        if self.evaluated != self.state.version:  # it was evaluated before the run was resumed
            self.executor.evaluate(self.state.version, last.handle)
            self.evaluation = self.executor.evaluation(self.state.version, wait=True)
        self.recorder.finish(self.client_rows(), self.label_rows(), layout.split(last.model))

    def client_rows(self) -> list[ClientRow]:
        """One row a client."""
        clients, statistics = self.state.clients, self.executor.client_statistics()
        right = self.executor.validate(self.state.newest.handle)
        return [
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
                name=statistics.names[client] if statistics.names else None,
            )
            for client, (train, validation, labels) in enumerate(
                zip(statistics.train.tolist(), statistics.validation.tolist(), statistics.labels.tolist(), strict=True)
            )
        ]

    def label_rows(self) -> list[LabelRow]:
        """One row a label."""
        names = dict(enumerate(self.executor.client_statistics().label_names))
        labels = self.evaluation.labels if self.evaluation else ()
        return [
            LabelRow(label, count, right / count if count else None, names.get(label))
            for label, (count, right) in enumerate(labels)
        ]
