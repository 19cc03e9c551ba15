"""A Flower grid as the Executor, the Clock and the Scenario of the loop: nodes train, reply, come and go.

Clients are places, N of them: a node that appears takes one, and keeps it. When all are taken, a new node gets the
place of one that is gone, with what the server knows of it: so a node that restarts under a new name goes on.
"""

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedqs_ray.backends.flower.wire import REJECTED, InvalidAnswer, Parcel, read_update, write_request
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.interfaces import Algorithm, ClientView, Handle, UpdatesAtHand
from fedqs_ray.core.types import (
    Attempt,
    ClientStatistics,
    Evaluation,
    Job,
    JobKey,
    Layout,
    Plan,
    Start,
    Thresholds,
    TrainingRequest,
    Update,
    Vector,
    make_job_key,
)

POLL = 0.1
"""Seconds between two looks for replies."""
PAUSE = 1.0
"""Seconds between two looks at the nodes online, and for a node to wait after an error."""
ABSENT = (3, 4, 5)
"""Flower's error codes for a node, a message or a reply that is not there (any more)."""

log = logging.getLogger("fedqs_ray.backends.flower")


@dataclass(frozen=True, slots=True)
class NodeState:
    """A client state that lies on the client's node; and here, for algorithms that need "client_states"."""

    attempt: int
    vector: Vector | None


class Nodes(UpdatesAtHand):
    """Messages to nodes and their replies. Times are real seconds from the start of the run."""

    def __init__(
        self,
        grid: Grid,
        experiment: Experiment,
        algorithm: Algorithm,
        model: Vector,
        layout: Layout,
        measure: Callable[[Vector], Evaluation],
        ttl: float,
    ) -> None:
        self.grid, self.algorithm, self.ttl = grid, algorithm, ttl
        self.model, self.layout, self.measure = np.array(model, np.float32), layout, measure
        self.settings = json.dumps(experiment.model_dump(mode="json", exclude_none=True))
        self.state_size = (
            state_size(experiment, algorithm, self.model, layout) if "client_states" in algorithm.needs else None
        )
        """Length of the client states that lie here."""
        self.samples = np.zeros(experiment.clients.count, np.int64)
        self.nodes: list[int | None] = [None] * experiment.clients.count
        """The node at each place."""
        self.online: frozenset[int] = frozenset()
        self.failed: set[int] = set()
        """Clients whose last job brought nothing."""
        self.errors_in_a_row, self.error = 0, ""
        self._outbox: list[TrainingRequest[Handle]] = []
        self._sent: dict[str, Job] = {}
        """Jobs under way, by the message that took them to their nodes."""
        self._ended: deque[Job] = deque()
        self._updates: dict[JobKey, Update] = {}
        self._evaluations: dict[int, Evaluation] = {}
        self._began, self._looked = time.monotonic(), -PAUSE
        self.now = 0.0

    # Scenario: which nodes are online

    def attempt(self, start: Start) -> Attempt:  # noqa: ARG002
        return Attempt(self.ttl)

    def ready(self, client: int, time: float) -> float:
        return time if self.present(client) and client not in self.failed else time + PAUSE

    def leaving(self, version: int) -> Sequence[int]:  # noqa: ARG002
        return ()

    def present(self, client: int) -> bool:
        """Whether the client's node is online."""
        return self.nodes[client] in self.online

    def meet(self) -> None:
        """Update the nodes that are online; new ones take free places."""
        if self.elapsed() < self._looked + PAUSE:
            return
        self._looked, before = self.elapsed(), self.online
        self.online = frozenset(self.grid.get_node_ids())
        for node in sorted(self.online.difference(self.nodes)):
            empty = [place for place, other in enumerate(self.nodes) if other is None]
            gone = [place for place in range(len(self.nodes)) if not self.present(place)]
            if empty or gone:
                self.nodes[(empty or gone)[0]] = node
        if self.online != before:
            log.info("%d nodes are online, for %d places", len(self.online), len(self.nodes))

    # Executor

    def initial_model(self) -> tuple[Vector, Layout]:
        self.meet()
        return self.model, self.layout

    def client_statistics(self) -> ClientStatistics:
        """Samples as far as the nodes' first updates gave them; no labels."""
        none = np.zeros_like(self.samples)
        return ClientStatistics(self.samples, none, np.zeros((none.size, 0), np.int64))

    def put(self, vector: Vector) -> Handle:
        vector.flags.writeable = False
        return vector

    def get(self, handle: Handle) -> Vector:
        return handle.vector if isinstance(handle, NodeState) else handle  # type: ignore[return-value]

    def submit(self, batch: Sequence[TrainingRequest[Handle]]) -> None:
        self._outbox += batch

    def restore(self, job: Job, update: Update) -> None:
        self._updates[make_job_key(job)] = update

    def result(self, job: Job) -> Update:
        return self._updates.pop(make_job_key(job))

    def discard(self, job: Job) -> None:
        self._updates.pop(make_job_key(job), None)

    def evaluate(self, version: int, model: Handle) -> None:
        self._evaluations[version] = self.measure(self.get(model))

    def evaluation(self, version: int, wait: bool) -> Evaluation | None:  # noqa: ARG002
        return self._evaluations.pop(version)

    def validate(self, model: Handle) -> NDArray[np.int64] | None:  # noqa: ARG002
        return None

    def push(self) -> None:
        """Send the submitted requests."""
        orders, self._outbox = self._outbox, []
        messages = [self.message(order) for order in orders]
        if messages:
            accepted = set(self.grid.push_messages(messages))
        for order, message in zip(orders, messages, strict=True):
            if (number := message.metadata.message_id) in accepted:
                self._sent[number] = order.job
            else:
                self.fail(order.job, "the message could not be sent", absent=True)

    def message(self, order: TrainingRequest[Handle]) -> Message:
        """A request as a message to the client's node."""
        job, extra = order.job, None if order.extra is None else self.get(order.extra)
        last = order.client_state.attempt if isinstance(order.client_state, NodeState) else None
        parcel = Parcel(job, self.settings, self.layout.parameters, last, self.get(order.model), extra)
        return Message(
            write_request(parcel),
            dst_node_id=self.nodes[job.client],
            message_type="train",
            ttl=self.ttl,
            group_id=str(job.version),
        )

    def pull(self) -> None:
        """Take in the replies that have come."""
        for reply in self.grid.pull_messages(list(self._sent)) if self._sent else ():
            job = self._sent.pop(reply.metadata.reply_to_message_id, None)
            if job is None:
                continue
            if reply.has_error():
                self.fail(job, last_line(reply.error.reason), absent=reply.error.code in ABSENT)
                continue
            self._updates[make_job_key(job)] = update = self.read(job, reply)
            self.samples[job.client] = update.samples or self.samples[job.client]
            self.failed.discard(job.client)
            self.errors_in_a_row = 0
            self._ended.append(job)

    def read(self, job: Job, reply: Message) -> Update:
        """The update in a reply, with its client state."""
        try:
            update = read_update(reply.content, self.state_size)
        except InvalidAnswer as why:
            log.warning(
                "client %d on node %s: an answer that makes no sense: %s", job.client, self.nodes[job.client], why
            )
            return REJECTED
        client_state = update.delta if update.client_state is None else update.client_state
        return replace(update, handle=NodeState(job.attempt, None if self.state_size is None else client_state))

    def fail(self, job: Job, reason: str, absent: bool) -> None:
        """End a job as lost."""
        log.warning("client %d on node %s: %s", job.client, self.nodes[job.client], reason)
        self.failed.add(job.client)
        if not absent:
            self.errors_in_a_row, self.error = self.errors_in_a_row + 1, reason
        self._ended.append(replace(job, lost=True))

    # Clock: when jobs end

    def __len__(self) -> int:
        return len(self._outbox) + len(self._sent) + len(self._ended)

    def schedule(self, job: Job) -> None:
        """Do nothing: the end of a job is not known before it comes, within `ttl`."""

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def advance(self, *until: float | None) -> None:
        """Wait for a reply, or for the earliest of `until`."""
        end = min((moment for moment in until if moment is not None), default=np.inf)
        self.push()
        self.pull()
        while not self._ended and self.elapsed() < end:
            time.sleep(POLL)
            self.pull()
        self.meet()
        self.now = max(self.now, self.elapsed())

    def pop(self) -> Job | None:
        return replace(self._ended.popleft(), end=self.now) if self._ended else None

    def jobs(self) -> list[Job]:
        return [*self._ended, *self._sent.values(), *(order.job for order in self._outbox)]


def state_size(experiment: Experiment, algorithm: Algorithm, model: Vector, layout: Layout) -> int:
    """Length of a client state: that of a first update of zeros."""
    lr = experiment.training.lr
    view = ClientView(model, None, None, lr, None, Thresholds(), list, layout.parameters)
    client_state = algorithm.client_state(view, Plan(lr), np.zeros_like(model), 1)
    return model.size if client_state is None else client_state.size


def last_line(text: str | None) -> str:
    """Last line of a text, which may be a traceback."""
    return ([line.strip() for line in (text or "").splitlines() if line.strip()] or ["no reason given"])[-1][:300]
