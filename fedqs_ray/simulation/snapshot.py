"""Snapshots: the state of a run between two events, captured and restored.

What is not here is a pure function of the configuration and the seed, or is made anew (actors, their caches).
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from numpy.typing import NDArray
from pydantic import TypeAdapter

from fedqs_ray.core.interfaces import Arrival, fetch_delta
from fedqs_ray.core.rows import RoundRow, Snapshot
from fedqs_ray.core.types import (
    Evaluation,
    Fingerprint,
    Job,
    JobKey,
    Outcome,
    Plan,
    Thresholds,
    Update,
    Vector,
    make_job_key,
)
from fedqs_ray.simulation.model_versions import ModelVersion
from fedqs_ray.simulation.server import Server

COLUMNS = ("attempts", "aggregated", "lr", "angle", "busy", "ready", "gone")
"""Of the client table."""


@dataclass(frozen=True)
class HeldUpdate:
    """An update, without its vectors."""

    job: Job
    plan: Plan
    samples: int
    loss: float
    largest: float


@dataclass(frozen=True)
class Facts:
    """`Snapshot.facts`, typed."""

    experiment: dict[str, Any]
    """The settings that the run began with."""
    data: Fingerprint
    rows: dict[str, int]
    """Rows of each table that are written; rows after them belong to a future that is computed again."""
    version: int
    now: float
    deadline: float | None
    samplings: int
    rejected_in_a_row: int
    thresholds: Thresholds
    total: int
    dispatched: int
    ended: dict[Outcome, int]
    evaluation: Evaluation | None
    waiting: list[RoundRow]
    jobs: list[Job]
    batches: list[list[JobKey]]
    """Jobs under way that are to be trained together, where none of them has ended."""
    trained: list[HeldUpdate]
    """Jobs under way whose updates are held, because others of their batches have ended."""
    buffer: list[HeldUpdate]


def capture_state(server: Server) -> Snapshot:
    """The state of `server`, at a point where `Server.run` has yielded.

    Waits for evaluations under way, and for the batches of which a member has ended.
    """
    state, ledger, executor = server.state, server.ledger, server.executor
    ledger.collect(wait=True)
    batches, rest = server.batches.waiting()
    jobs = {make_job_key(job): job for job in server.clock.jobs()}
    trained = [(jobs[each], executor.result(jobs[each])) for each in rest]
    for job, update in trained:
        executor.restore(job, update)
    facts = Facts(
        experiment=server.experiment.model_dump(mode="json", exclude_none=True),
        data=executor.client_statistics().fingerprint(),
        rows={"arrivals": state.ended.total(), "rounds": state.version + 1 - len(ledger.waiting)},
        version=state.version,
        now=server.clock.now,
        deadline=state.deadline,
        samplings=state.samplings,
        rejected_in_a_row=state.rejected_in_a_row,
        thresholds=state.thresholds,
        total=state.clients.total,
        dispatched=state.dispatched,
        ended=dict(state.ended),
        evaluation=ledger.evaluation,
        waiting=list(ledger.waiting),
        jobs=list(jobs.values()),
        batches=batches,
        trained=[strip_update(*each) for each in trained],
        buffer=[strip_update(arrival.job, arrival.update) for arrival in state.buffer.arrivals],
    )
    return Snapshot(asdict(facts), list_arrays(server, trained))


def strip_update(job: Job, update: Update) -> HeldUpdate:
    """All of an update but its vectors."""
    return HeldUpdate(job, update.plan, update.samples, update.loss, update.largest)


def list_arrays(server: Server, trained: list[tuple[Job, Update]]) -> Iterator[tuple[str, NDArray[Any]]]:
    """What a snapshot holds in arrays, one after another, so that they need not be in memory together."""
    state, executor = server.state, server.executor
    for name in COLUMNS:
        yield f"clients/{name}", getattr(state.clients, name)
    for number, version in state.versions:
        yield f"version/{number}", version.model
        if version.extra is not None:
            yield f"extra/{number}", executor.get(version.extra)
    for name, array in state.algorithm_state.items():
        yield f"algorithm/{name}", array
    for place, arrival in enumerate(state.buffer.arrivals):
        yield f"buffer/{place}", arrival.delta
        if arrival.update.client_state is not None:
            yield f"buffer-state/{place}", arrival.update.client_state
        if arrival.previous_client_state is not None:
            yield f"previous-state/{place}", arrival.previous_client_state
    for place, (job, update) in enumerate(trained):
        yield f"trained/{place}", fetch_delta(executor, job, update)
        if update.client_state is not None:
            yield f"trained-state/{place}", update.client_state
    for client, handle in state.clients.client_states.items():
        yield f"client/{client}", executor.get(handle)


def parse_facts(facts: dict[str, Any]) -> Facts:
    """What `Snapshot.facts` holds. Raises ValueError where that is anything else."""
    return TypeAdapter(Facts).validate_python(facts)


def restore_state(server: Server, snapshot: Snapshot) -> None:
    """Make a new `server` go on from `snapshot`; its jobs under way are submitted again.

    Raises ValueError for a snapshot that is malformed.
    """
    facts, executor = parse_facts(snapshot.facts), server.executor
    columns: dict[str, NDArray[Any]] = {}
    versions: dict[int, ModelVersion] = {}
    client_states: dict[int, object] = {}
    algorithm_state: dict[str, NDArray[Any]] = {}
    vectors: dict[str, Vector] = {}
    for name, array in snapshot.arrays:
        kind, _, place = name.partition("/")
        match kind:
            case "clients":
                columns[place] = array
            case "version":
                handle = executor.put(array)
                versions[int(place)] = ModelVersion(executor.get(handle), handle)
            case "extra":
                versions[int(place)] = replace(versions[int(place)], extra=executor.put(array))
            case "client":
                client_states[int(place)] = executor.put(array)
            case "algorithm":
                algorithm_state[place] = array
            case _:
                vectors[name] = array
    server.state.restore(
        columns={name: columns[name] for name in COLUMNS if name in columns},
        total=facts.total,
        client_states=client_states,
        versions=versions,
        version=facts.version,
        thresholds=facts.thresholds,
        algorithm_state=algorithm_state,
        deadline=facts.deadline,
        samplings=facts.samplings,
        rejected_in_a_row=facts.rejected_in_a_row,
        dispatched=facts.dispatched,
        ended=facts.ended,
        arrivals=[
            Arrival(
                held.job,
                rebuild_update(held, vectors[f"buffer/{place}"], vectors.get(f"buffer-state/{place}")),
                start_model=versions[held.job.version].model,
                previous_client_state=vectors.get(f"previous-state/{place}"),
            )
            for place, held in enumerate(facts.buffer)
        ],
    )
    server.ledger.evaluation, server.ledger.waiting = facts.evaluation, deque(facts.waiting)
    server.clock.now = facts.now
    restore_jobs(server, facts, vectors)


def rebuild_update(held: HeldUpdate, delta: Vector, client_state: Vector | None, handle: object = None) -> Update:
    """An update as it was."""
    return Update(delta, held.plan, held.samples, held.loss, held.largest, client_state, handle)


def restore_jobs(server: Server, facts: Facts, vectors: dict[str, Vector]) -> None:
    """Put the jobs under way back to where they were: trained, in a batch, or waiting for one."""
    executor, batches = server.executor, server.batches
    jobs = {make_job_key(job): job for job in facts.jobs}
    for job in jobs.values():
        server.clock.schedule(job)
        server.state.resume(job)
    for place, held in enumerate(facts.trained):
        delta, own = vectors[f"trained/{place}"], vectors.get(f"trained-state/{place}")
        handle = executor.put(delta if own is None else own)
        executor.restore(held.job, rebuild_update(held, delta, own, handle))
        batches.add_batch([make_job_key(held.job)], begun=True)
    for batch in facts.batches:
        batches.add_batch(batch)
        server.submit([[jobs[each] for each in batch]])
    settled = {make_job_key(held.job) for held in facts.trained}.union(*facts.batches)
    for each, job in jobs.items():
        if not job.lost and each not in settled:
            batches.add(job)
