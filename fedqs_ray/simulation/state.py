"""The state of a run between two events: taken out, and put back.

What is not here is a pure function of the configuration and the seed, or is made anew (actors, their caches).
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from numpy.typing import NDArray
from pydantic import TypeAdapter

from fedqs_ray.core.interfaces import fetch_delta
from fedqs_ray.core.rows import RoundRow, Snapshot
from fedqs_ray.core.types import Fingerprint, Job, JobKey, Outcome, Plan, Thresholds, Update, job_key
from fedqs_ray.simulation.buffer import Entry
from fedqs_ray.simulation.model_versions import ModelVersion
from fedqs_ray.simulation.server import Server

COLUMNS = ("attempts", "aggregated", "lr", "angle", "busy", "ready", "gone")


@dataclass(frozen=True)
class Held:
    """An update, without its vector."""

    job: Job
    plan: Plan
    samples: int
    loss: float
    largest: float


@dataclass(frozen=True)
class Facts:
    """`State.facts`, typed."""

    experiment: dict[str, Any]
    """The settings that the run began with."""
    data: Fingerprint
    rows: dict[str, int]
    """Rows of each table that are written; what follows them belongs to the future."""
    version: int
    now: float
    deadline: float | None
    samplings: int
    rejected_in_a_row: int
    thresholds: Thresholds
    total: int
    dispatched: int
    ended: dict[Outcome, int]
    accuracy: float | None
    waiting: list[RoundRow]
    jobs: list[Job]
    cohorts: list[list[JobKey]]
    """Jobs under way that are to be trained together, where none of them has ended."""
    trained: list[Held]
    """Jobs under way whose updates are kept, because others of their cohorts have ended."""
    buffer: list[Held]


def capture_state(server: Server) -> Snapshot:
    """The state of `server`, at a point where `Server.run` has yielded.

    Waits for evaluations under way, and for the cohorts of which a member has ended.
    """
    ledger, clients = server.ledger, server.clients
    ledger.collect(wait=True)
    cohorts, rest = server.cohorts.waiting()
    jobs = {job_key(job): job for job in server.clock.jobs()}
    trained = [(jobs[each], server.executor.result(jobs[each])) for each in rest]
    for job, update in trained:
        server.executor.restore(job, update)
    facts = Facts(
        experiment=server.experiment.model_dump(mode="json", exclude_none=True),
        data=server.executor.census().fingerprint(),
        rows={"arrivals": ledger.ended.total(), "rounds": server.version + 1 - len(ledger.waiting)},
        version=server.version,
        now=server.clock.now,
        deadline=server.deadline,
        samplings=server.samplings,
        rejected_in_a_row=server.rejected_in_a_row,
        thresholds=server.thresholds,
        total=clients.total,
        dispatched=ledger.dispatched,
        ended=dict(ledger.ended),
        accuracy=ledger.accuracy,
        waiting=list(ledger.waiting),
        jobs=list(jobs.values()),
        cohorts=cohorts,
        trained=[hold_update(*each) for each in trained],
        buffer=[hold_update(entry.job, entry.update) for entry in server.buffer.entries],
    )
    return Snapshot(asdict(facts), list_arrays(server, trained))


def hold_update(job: Job, update: Update) -> Held:
    """All of an update but its vector."""
    return Held(job, update.plan, update.samples, update.loss, update.largest)


def list_arrays(server: Server, trained: list[tuple[Job, Update]]) -> Iterator[tuple[str, NDArray[Any]]]:
    """What a state holds in arrays, one after another, so that they need not be in memory together."""
    for name in COLUMNS:
        yield f"clients/{name}", getattr(server.clients, name)
    for number, version in server.versions:
        yield f"version/{number}", version.model
        if version.companion is not None:
            yield f"companion/{number}", server.executor.get(version.companion)
    for name, array in server.memory.items():
        yield f"memory/{name}", array
    for place, entry in enumerate(server.buffer.entries):
        yield f"buffer/{place}", fetch_delta(server.executor, entry.job, entry.update)
        if entry.update.kept is not None:
            yield f"buffer-kept/{place}", entry.update.kept
        if entry.before is not None:
            yield f"before/{place}", server.executor.get(entry.before)
    for place, (job, update) in enumerate(trained):
        yield f"trained/{place}", fetch_delta(server.executor, job, update)
        if update.kept is not None:
            yield f"kept/{place}", update.kept
    for client, handle in server.clients.kept.items():
        yield f"client/{client}", server.executor.get(handle)


def parse_facts(facts: dict[str, Any]) -> Facts:
    """What `State.facts` holds. Raises ValueError where that is anything else."""
    return TypeAdapter(Facts).validate_python(facts)


def restore_state(server: Server, state: Snapshot) -> None:
    """Make a new `server` go on from `state`; its jobs under way are submitted again.

    Raises ValueError for a state that is malformed.
    """
    facts = parse_facts(state.facts)
    clients, ledger, executor = server.clients, server.ledger, server.executor
    vectors: dict[str, NDArray[Any]] = {}
    memory: dict[str, NDArray[Any]] = {}
    for name, array in state.arrays:
        kind, _, place = name.partition("/")
        if kind == "clients" and place in COLUMNS:
            getattr(clients, place)[:] = array
        elif kind == "version":
            handle = executor.put(array)
            server.versions.add(int(place), ModelVersion(executor.get(handle), handle))
        elif kind == "companion":
            version = server.versions[int(place)]
            server.versions.add(int(place), replace(version, companion=executor.put(array)))
        elif kind == "client":
            clients.kept[int(place)] = executor.put(array)
        elif kind == "memory":
            memory[place] = array
        else:
            vectors[name] = array
    clients.total = facts.total
    clients.count_up()
    server.version, server.deadline, server.thresholds = facts.version, facts.deadline, facts.thresholds
    server.samplings, server.rejected_in_a_row = facts.samplings, facts.rejected_in_a_row
    ledger.dispatched, ledger.ended, ledger.accuracy = facts.dispatched, Counter(facts.ended), facts.accuracy
    ledger.waiting = deque(facts.waiting)
    server.memory = memory
    for number, one in enumerate(facts.buffer):
        delta, kept = vectors[f"buffer/{number}"], vectors.get(f"buffer-kept/{number}")
        before = vectors.get(f"before/{number}")
        update = Update(delta, one.plan, one.samples, one.loss, one.largest, kept)
        server.buffer.entries.append(Entry(one.job, update, None if before is None else executor.put(before)))
        server.versions.hold(one.job)
    server.clock.now = facts.now
    restore_jobs(server, facts, vectors)


def restore_jobs(server: Server, facts: Facts, vectors: dict[str, NDArray[Any]]) -> None:
    """Put the jobs under way back to where they were: trained, in a cohort, or waiting for one."""
    executor, cohorts = server.executor, server.cohorts
    jobs = {job_key(job): job for job in facts.jobs}
    for job in jobs.values():
        server.clock.schedule(job)
        server.versions.hold(job)
        server.buffer.start(job)
    for number, one in enumerate(facts.trained):
        delta, kept = vectors[f"trained/{number}"], vectors.get(f"kept/{number}")
        handle = executor.put(delta if kept is None else kept)
        update = Update(delta, one.plan, one.samples, one.loss, one.largest, kept, handle)
        executor.restore(one.job, update)
        cohorts.again([job_key(one.job)], begun=True)
    for cohort in facts.cohorts:
        cohorts.again(cohort)
        server.submit([[jobs[each] for each in cohort]])
    settled = {job_key(one.job) for one in facts.trained}.union(*facts.cohorts)
    for each, job in jobs.items():
        if not job.lost and each not in settled:
            cohorts.add(job)
