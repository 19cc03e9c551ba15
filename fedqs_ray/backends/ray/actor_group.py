"""Group of client actors: starts them, waits for their calls, and replaces those that die.

An actor gets no work before it answered from its node, so a cluster that lost a node goes on with what is left.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    WorkerCrashedError,
)

from fedqs_ray.backends.ray.scheduler import FailurePolicy
from fedqs_ray.core.exceptions import InvariantError, SimulationStopped
from fedqs_ray.core.text import flatten_message, shorten_message
from fedqs_ray.core.types import Job

ACTOR_ERRORS = (RayActorError, ObjectLostError, NodeDiedError, OutOfMemoryError, WorkerCrashedError)
"""Errors that Ray raises where a call, or what it returned, was lost with a process or a node."""
PATIENCE = 180.0
"""Seconds to wait for a client actor to start while there is no other that works."""
STALL = 60.0
"""Seconds without an answer from any actor that are worth a line in the log."""

log = logging.getLogger(__name__)


def log_retry(job: Job) -> None:
    """Log that a job is done again, because the actor that had it died."""
    log.warning("job retried", extra={"client": job.client, "attempt": job.attempt, "version": job.version})


@dataclass(eq=False, slots=True)
class Member:
    """One place in the group, and the actor that holds it."""

    index: int
    actor: Any
    node: str | None = None
    """Id of the actor's node; None until it has started."""


class ActorGroup:
    """A fixed number of client actors."""

    def __init__(self, make: Callable[[], Any], size: int, patience: float = PATIENCE, stall: float = STALL) -> None:
        self._make, self.patience, self.stall = make, patience, stall
        self._failures = FailurePolicy(size)
        self.members = [Member(index, make()) for index in range(size)]
        self.starting: dict[Any, Member] = {}
        """Members that have not started, by the reference of their first answer."""
        self.on_start: Callable[[int], None] = lambda _: None
        """Called with the index of a member that has started."""
        self.on_death: Callable[[Member, Exception], None] = self.replace
        """Called once for a member that died; has to call `replace`."""
        for member in self.members:
            self._call(member)

    def __len__(self) -> int:
        return len(self.members)

    def _call(self, member: Member) -> None:
        self.starting[member.actor.node.remote()] = member

    def _answer(self, ref: Any) -> None:
        """Take in the first answer of a member."""
        member = self.starting.pop(ref)
        try:
            member.node, device = ray.get(ref)
        except ACTOR_ERRORS as error:
            self.report_death(member, error)
        else:
            log.info("client actor started", extra={"actor": member.index, "node": member.node, "device": device})
            self.on_start(member.index)

    def wait_for_start(self) -> None:
        """Wait until every member has started. Raises `SimulationStopped` where none starts in time."""
        while self.starting:
            self.wait([], None)

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of any member and return its result; of another one if that dies."""
        while True:
            for member in [one for one in self.members if one.node]:
                try:
                    return ray.get(getattr(member.actor, method).remote(*arguments))
                except ACTOR_ERRORS as error:
                    self.report_death(member, error)
            self.wait([], None)

    def wait(self, refs: list[Any], timeout: float | None) -> list[Any]:
        """One of `refs` that is ready, or none: `timeout` seconds are over, or a new member has started instead.

        Raises `SimulationStopped` where no actor starts that could make one ready.
        """
        everything = [*refs, *self.starting]
        if not everything:
            if timeout is None:
                raise InvariantError("wait for work that was never submitted")
            return []
        limit = timeout if refs or timeout is not None else self.patience
        ready = self._first(everything, limit)
        if not ready and timeout is None:
            self._give_up()
        for ref in ready:
            if ref in self.starting:
                self._answer(ref)
                return []
        return ready

    def _first(self, refs: list[Any], limit: float | None) -> list[Any]:
        """The first of `refs` that is ready within `limit` seconds, or none; long waits go into the log."""
        began = time.monotonic()
        while True:
            left = math.inf if limit is None else max(0.0, limit - (time.monotonic() - began))
            ready, _ = ray.wait(refs, num_returns=1, timeout=min(left, self.stall))
            if ready or left <= self.stall:
                return ready
            waited = time.monotonic() - began
            starting = len(self.starting)
            facts = {"seconds": round(waited), "calls": len(refs) - starting, "starting": starting}
            log.warning("nothing finished", extra=facts)

    def _give_up(self) -> None:
        """Stop, as no actor started in time."""
        have = ray.cluster_resources()  # type: ignore[no-untyped-call]
        shown = ", ".join(f"{have.get(kind, 0):g} {kind}s" for kind in ("CPU", "GPU"))
        raise SimulationStopped(f"no client actor could be started within {self.patience:g} s; the cluster has {shown}")

    def report_death(self, member: Member, error: Exception) -> None:
        """Handle the death of a member, which each of its calls may report. Raises as `replace` does."""
        if self.members[member.index] is member:
            self.on_death(member, error)

    def replace(self, member: Member, error: Exception, intended: bool = False) -> None:
        """Put a new actor in the place of one that died of `error`; `intended` deaths are always tolerated.

        Raises `SimulationStopped` where starting one fails, or where too many die.
        """
        if getattr(error, "actor_init_failed", False):
            raise SimulationStopped(f"a client actor could not start: {shorten_message(error)}")
        facts = {"actor": member.index, "node": member.node, "intended": intended, "reason": flatten_message(error)}
        log.warning("client actor died", extra=facts)
        if not intended and (deaths := self._failures.count_death(time.monotonic())):
            raise SimulationStopped(
                f"{deaths} client actors died within a minute; the last one: {shorten_message(error)}"
            )
        ray.kill(member.actor)
        self.starting = {ref: one for ref, one in self.starting.items() if one is not member}
        self.members[member.index] = fresh = Member(member.index, self._make())
        self._call(fresh)
