"""The three laws, on the loop with the inline executor."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import pytest

from fedqs_ray.algorithms.registry import NAMES, build_algorithm
from fedqs_ray.backends.inline import InlineExecutor
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.loading import load_experiment
from fedqs_ray.core.exceptions import SimulationStopped
from fedqs_ray.core.interfaces import Aggregation, Algorithm, ClientView, Round
from fedqs_ray.core.rows import ClientRow, JobRow, RoundRow
from fedqs_ray.core.types import Attempt, Job, Plan, Start, Thresholds, TrainingRequest, Update, Vector
from fedqs_ray.scenarios.scenario import build_scenario
from fedqs_ray.simulation.server import Server
from fedqs_ray.tasks.loading import load_data
from fedqs_ray.training.trainer import Trainer

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
ALGORITHMS = NAMES

Make = Callable[..., Experiment]


class Memory(Protocol):
    """tests/conftest.py's recorder."""

    jobs: list[JobRow]
    rounds: list[RoundRow]
    clients: list[ClientRow]
    model: dict[str, Vector]

    def bits(self) -> bytes: ...


Inline = Callable[[Experiment], Memory]


def log(rows: list[JobRow]) -> str:
    """A run's events, one line each."""
    head = "client attempt version start end outcome round staleness\n"
    return head + "".join(
        f"{r.client} {r.attempt} {r.version} {r.start:g} {r.end:g} {r.outcome} {r.round} {r.staleness}\n" for r in rows
    )


@pytest.mark.parametrize("name", ["static", "sampled"])
def test_the_event_log_is_golden(experiment: Make, inline: Inline, name: str) -> None:
    settings = ["clients.count=6", "server.buffer_size=2", "scenario.ratio=4", "run.rounds=9"]
    rows = inline(experiment(*settings, *["clients.concurrency=3"] * (name == "sampled"))).jobs
    assert log(rows) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def ticking(experiment: Experiment) -> set[tuple[int, float, float, int, int]]:
    """The slow twin: a clock that ticks second by second, every client asked at every tick."""
    scenario = build_scenario(experiment)
    count, size, rounds = experiment.clients.count, experiment.server.buffer_size, experiment.run.rounds
    duration = [int(scenario.attempt(Start(i, 0, 0)).duration) for i in range(count)]
    version, buffer = 0, list[tuple[int, int, int, int]]()
    done: set[tuple[int, float, float, int, int]] = set()
    started = [(0, 0)] * count  # tick and version of the start
    tick = 0
    while version < rounds:
        tick += 1
        returned = []
        for i in range(count):
            if version < rounds and tick - started[i][0] == duration[i]:
                buffer.append((i, *started[i], tick))
                returned.append(i)
                if len(buffer) == size:
                    version += 1
                    done |= {(i, start, end, v, version) for i, start, v, end in buffer}
                    buffer = []
        for i in returned:
            started[i] = (tick, version)
    return done


@pytest.mark.parametrize("seed", range(4))
def test_the_heap_agrees_with_a_ticking_clock(experiment: Make, inline: Inline, seed: int) -> None:
    setting = experiment(f"seed={seed}", "run.rounds=40", "scenario.ratio=9")
    rows = [r for r in inline(setting).jobs if r.outcome == "arrived"]
    assert {(r.client, r.start, r.end, r.version, r.round) for r in rows} == ticking(setting)


def test_the_schedule_depends_on_nothing_of_an_algorithm_but_its_tiers(experiment: Make, inline: Inline) -> None:
    logs: dict[int, set[str]] = {}
    for name in ALGORITHMS:
        setting = experiment(f"algorithm.name={name}")
        logs.setdefault(build_algorithm(setting).tiers, set()).add(log(inline(setting).jobs))
    assert set(logs) == {0, 1, 5}
    assert [len(found) for found in logs.values()] == [1, 1, 1]


@pytest.mark.parametrize("extra", [[], ["clients.concurrency=5"], ["server.buffer_size=12"], ["server.buffer_size=1"]])
def test_every_job_ends_exactly_once(experiment: Make, inline: Inline, extra: list[str]) -> None:
    setting = experiment(*extra)
    memory = inline(setting)
    assert len({(row.client, row.attempt) for row in memory.jobs}) == len(memory.jobs)
    per_client = Counter(row.client for row in memory.jobs)
    assert [per_client[row.client] for row in memory.clients] == [row.dispatched for row in memory.clients]
    arrived = [row for row in memory.jobs if row.outcome == "arrived"]
    assert Counter(row.round for row in arrived) == dict.fromkeys(range(1, 13), setting.server.buffer_size)
    assert {row.outcome for row in memory.jobs} <= {"arrived", "unfinished"}
    for row in arrived:
        assert row.staleness == (row.round or 0) - 1 - row.version >= 0
    for number in range(1, 13):
        assert sum(row.weight or 0.0 for row in arrived if row.round == number) == pytest.approx(1.0)
    busy = [sum(row.start <= now < row.end for row in memory.jobs) for now in np.arange(0.0, memory.rounds[-1].time)]
    assert set(busy) == {setting.clients.at_once}


def test_a_client_starts_on_the_newest_version(experiment: Make, inline: Inline) -> None:
    memory = inline(experiment())
    for row in memory.jobs:
        assert row.version == max(r.round for r in memory.rounds if r.time <= row.start)


def test_rounds_come_in_order_with_their_evaluations(experiment: Make, inline: Inline) -> None:
    rows = inline(experiment("run.eval_every=5")).rounds
    assert [row.round for row in rows] == list(range(13))
    assert [row.round for row in rows if row.accuracy is not None] == [0, 5, 10, 12]
    assert [row.arrived for row in rows] == [4 * n for n in range(13)]


def test_concurrency_samples_uniformly(experiment: Make, inline: Inline) -> None:
    # Every duration is 1, so each second draws 4 of 12 clients: 100 draws of 4, 33 each on average.
    setting = experiment("clients.concurrency=4", "scenario.ratio=1", "run.rounds=100")
    counts = Counter(row.client for row in inline(setting).jobs)
    assert len(counts) == 12
    assert all(18 <= n <= 50 for n in counts.values()), counts


def test_the_base_of_everything_is_the_seed(experiment: Make, inline: Inline) -> None:
    one, again, other = (inline(experiment(f"seed={seed}")) for seed in (1, 1, 2))
    assert one.bits() == again.bits()
    assert one.rounds == again.rounds
    assert one.jobs == again.jobs
    assert one.bits() != other.bits()
    assert log(one.jobs) != log(other.jobs)


def test_equal_clients_and_a_buffer_for_all_are_synchronous(experiment: Make, inline: Inline) -> None:
    memory = inline(experiment("server.buffer_size=12", "scenario.ratio=1"))
    assert {row.staleness for row in memory.jobs if row.outcome == "arrived"} == {0}
    assert [row.time for row in memory.rounds] == [float(n) for n in range(13)]


class Losing:
    """A scenario that loses every third attempt."""

    def attempt(self, start: Start) -> Attempt:
        return Attempt(duration=1.0 + start.client % 3, lost=(start.client + start.attempt) % 3 == 0)

    def ready(self, client: int, time: float) -> float:
        return time

    def leaving(self, version: int) -> list[int]:
        return []


class Spoiled(InlineExecutor):
    """Clients below `bad` send numbers that are not finite."""

    bad = 3

    def result(self, job: Job) -> Update:
        update = super().result(job)
        if job.client >= self.bad:
            return update
        return replace(update, vector=np.full_like(update.delta, np.nan), largest=np.nan)


def server(experiment: Experiment, memory: Memory, executor: type[InlineExecutor], scenario: object = None) -> Server:
    algorithm = build_algorithm(experiment)
    task = Trainer(experiment, load_data(experiment), algorithm)
    world = scenario or build_scenario(experiment)
    return Server(experiment, algorithm, world, executor(task), memory)  # type: ignore[arg-type]


def test_lost_jobs_are_rows_and_their_clients_come_back(experiment: Make, memory: Memory) -> None:
    list(server(experiment(), memory, InlineExecutor, Losing()).run())
    lost = [row for row in memory.jobs if row.outcome == "lost"]
    assert lost
    assert all((row.client + row.attempt) % 3 == 0 and row.weight is None for row in lost)
    assert memory.rounds[-1].lost <= len(lost)
    assert max(row.attempt for row in memory.jobs) > 2


def test_updates_that_are_not_finite_are_rejected_and_the_run_goes_on(experiment: Make, memory: Memory) -> None:
    list(server(experiment(), memory, Spoiled).run())
    outcomes = {(row.client < 3, row.outcome) for row in memory.jobs}
    assert (True, "rejected") in outcomes
    assert (True, "arrived") not in outcomes
    assert (False, "rejected") not in outcomes
    assert np.isfinite(np.concatenate([t.ravel() for t in memory.model.values()])).all()


def test_a_run_where_every_update_is_bad_stops_and_says_why(experiment: Make, memory: Memory) -> None:
    class AllSpoiled(Spoiled):
        bad = 12

    with pytest.raises(
        SimulationStopped,
        match=r"after round 0 of 12: the last 12 updates .* training diverged",
    ):
        list(server(experiment(), memory, AllSpoiled).run())
    outcomes = Counter(row.outcome for row in memory.jobs)
    assert outcomes["rejected"] == 12
    assert set(outcomes) == {"rejected", "unfinished"}
    assert memory.model


def test_what_the_executor_is_asked_for(experiment: Make, memory: Memory) -> None:
    """Jobs that nobody needs before the end are never trained, and old versions are let go."""
    trained = []

    class Counting(InlineExecutor):
        def result(self, job: Job) -> Update:
            trained.append((job.client, job.attempt))
            return super().result(job)

    loop = server(experiment("algorithm.name=fedavg"), memory, Counting)
    most = 0
    for _ in loop.run():
        most = max(most, len(loop.state.versions))
    assert len(trained) == len(set(trained)) == 12 * 4 + len(loop.state.buffer.arrivals)
    assert most <= 12


def test_good_updates_in_between_keep_a_run_going(experiment: Make, memory: Memory) -> None:
    """Only rejections in a row stop a run: here 11 of 12 clients are bad, and many more are rejected than 12."""

    class Mostly(Spoiled):
        bad = 11

    list(server(experiment("scenario.ratio=1", "server.buffer_size=1"), memory, Mostly).run())
    outcomes = Counter(row.outcome for row in memory.jobs)
    assert outcomes["rejected"] > 24
    assert outcomes["arrived"] == 12


def test_a_run_stops_after_as_many_rejections_as_clients_train_at_once(experiment: Make, memory: Memory) -> None:
    class AllSpoiled(Spoiled):
        bad = 1000

    few = experiment("clients.count=1000", "clients.concurrency=12", "scenario.ratio=7")
    with pytest.raises(SimulationStopped, match=r"the last 12 updates were all rejected .not finite.: tr"):
        list(server(few, memory, AllSpoiled).run())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the overflow is the point
def test_arrivals_of_a_round_that_made_no_version_are_not_counted(experiment: Make, memory: Memory) -> None:
    # FedAC's model overflows on updates with garbled bits, and the run stops within its second round.
    settings = ["clients.count=5", "server.buffer_size=4", "run.rounds=2", "seed=731732", "algorithm.name=fedac"]
    world = ["scenario.name=dynamic", "scenario.ratios=[1]", "scenario.faults.corrupt_rate=0.7"]
    with pytest.raises(SimulationStopped, match="returned an extra vector that is no vector of finite"):
        list(server(load_experiment(None, [*settings, *world]), memory, InlineExecutor).run())
    arrived = Counter(row.client for row in memory.jobs if row.outcome == "arrived")
    assert [row.aggregated for row in memory.clients] == [arrived[client] for client in range(5)]


def made_of(round: Round, **change: Any) -> Aggregation:
    """An aggregation with something wrong in it."""
    good: dict[str, Any] = {"model": round.model, "weights": (0.25,) * 4}
    return Aggregation(**good | change)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda _: None, "None; must be an Aggregation with a model"),
        (lambda r: made_of(r, model=r.model.tolist()), r"Aggregation.model=.*; must be an Aggregation with a model"),
        (lambda r: made_of(r, state={"n": 3.0}), "a state that is not all NumPy arrays"),
        (lambda r: made_of(r, extra=[1.0]), "an extra vector that is no vector of finite float32"),
    ],
)
def test_what_an_algorithm_must_not_return(
    experiment: Make, memory: Memory, made: Callable[[Round], Aggregation], why: str
) -> None:
    class Careless(Algorithm):
        def aggregate(self, round: Round) -> Aggregation:
            return made(round)

    setting = experiment()
    task = Trainer(setting, load_data(setting), Careless())
    careless = Server(setting, Careless(), build_scenario(setting), InlineExecutor(task), memory)  # type: ignore[arg-type]
    with pytest.raises(SimulationStopped, match=rf"fedqs-sgd returned {why}"):
        list(careless.run())


def test_what_a_client_must_not_return(experiment: Make) -> None:
    class Careless(Algorithm):
        def __init__(self, returned: Plan) -> None:
            self.returned = returned

        def plan(self, view: ClientView) -> Plan:
            return self.returned

        def client_state(self, view: ClientView, plan: Plan, delta: Vector, steps: int) -> Vector:
            return delta.astype(np.float64)

        def aggregate(self, round: Round) -> Aggregation:
            raise AssertionError(round)

    nan = float("nan")
    plans: list[tuple[Any, str]] = [
        (Plan(0.0), "fedqs-sgd.client_state returned array.*; must be a float32 vector or None"),
        (3, "fedqs-sgd.plan returned 3; must be a Plan"),
        (Plan(nan), "fedqs-sgd.plan returned lr = nan; must be a finite number of at least 0$"),
        (Plan(-0.1), "plan returned lr = -0.1; must be a finite number of at least 0$"),
        (Plan(0.1, momentum=1.0), "plan returned momentum = 1.0; must be a finite number of at least 0 and below 1"),
        (
            Plan(0.1, proximal=cast("float", None)),
            "plan returned proximal = None; must be a finite number of at least 0$",
        ),
    ]
    for returned, line in plans:
        setting = experiment()
        task = Trainer(setting, load_data(setting), Careless(returned))
        job = Job(0, 0, 0, 0.0, 1.0, False, 0.1, None, Thresholds())
        with pytest.raises((TypeError, ValueError), match=line):
            task.train_one(TrainingRequest(job, task.initial, None, None))


@pytest.mark.parametrize(
    ("model", "weights", "why"),
    [
        (lambda m: m[:3], 4, r"a model of 3 numbers; must have 4810"),
        (lambda m: m.astype(np.float64), 4, "a model of float64; must be float32"),
        (lambda m: m * np.float32(np.nan), 4, "a model with numbers that are not finite"),
        (lambda m: m, 3, "3 weights; must be one for each of 4 arrivals"),
    ],
)
def test_what_an_algorithm_must_return(
    experiment: Make, memory: Memory, model: Callable[[Vector], Vector], weights: int, why: str
) -> None:
    class Careless(Algorithm):
        def aggregate(self, round: Round) -> Aggregation:
            return Aggregation(model(round.model), (0.25,) * weights)

    setting = experiment()
    task = Trainer(setting, load_data(setting), Careless())
    careless = Server(setting, Careless(), build_scenario(setting), InlineExecutor(task), memory)  # type: ignore[arg-type]
    with pytest.raises(SimulationStopped, match=rf"stopped after round 0 of 12: fedqs-sgd returned {why}"):
        list(careless.run())
    assert Counter(row.outcome for row in memory.jobs)["unfinished"] == len(memory.jobs) > 0


class Witness(Algorithm):
    """An algorithm that writes down what it is shown, and moves the model by one a round."""

    needs = frozenset({"previous", "client_state", "client_states"})

    def __init__(self) -> None:
        self.views: list[ClientView] = []
        self.rounds: list[Round] = []

    def plan(self, view: ClientView) -> Plan:
        self.views.append(view)
        return Plan(view.lr, feedback=len(self.views) % 2 == 0, angle=float(len(self.views)))

    def aggregate(self, round: Round) -> Aggregation:
        self.rounds.append(round)
        state = {"rounds": np.array([len(self.rounds)])}
        return Aggregation(round.model + np.float32(1), (1.0,) * len(round.arrivals), state)


class TwoSpeeds(Losing):
    """Client 0 takes 1 virtual second, client 1 takes 3."""

    def attempt(self, start: Start) -> Attempt:
        return Attempt(duration=1.0 + 2.0 * start.client)


def test_what_an_algorithm_is_shown(experiment: Make, memory: Memory) -> None:
    """Two clients, K = 2, worked out by hand.

    Time 1: client 0 (v0). Time 2: client 0 again (v0): version 1. Time 3: client 0 (v1), then client 1 (v0, one
    version old): version 2. Time 4: client 0 (v2).
    """
    setting = experiment(
        "clients.count=2",
        "server.buffer_size=2",
        "run.rounds=2",
        "clients.concurrency=2",
        "training.clients_per_step=1",
    )
    witness = Witness()
    task = Trainer(setting, load_data(setting), witness)
    list(Server(setting, witness, TwoSpeeds(), InlineExecutor(task), memory).run())  # type: ignore[arg-type]
    first, second = witness.rounds
    assert [(a.client, a.staleness, a.count) for a in first.arrivals] == [(0, 0, 2), (0, 0, 2)]
    assert [(a.client, a.staleness, a.count) for a in second.arrivals] == [(0, 0, 3), (1, 1, 1)]
    assert (first.total_count, second.total_count) == (2, 4)
    start = task.initial
    assert np.array_equal(first.model, start)
    assert np.array_equal(second.model, start + 1)
    assert np.array_equal(second.arrivals[0].start_model, start + 1)
    assert np.array_equal(second.arrivals[1].start_model, start)
    # Trained when asked for, so in the order of arrivals: each plan's angle is its number.
    assert [a.angle for a in (*first.arrivals, *second.arrivals)] == [1.0, 2.0, 3.0, 4.0]
    assert [a.feedback for a in (*first.arrivals, *second.arrivals)] == [False, True, False, True]
    assert first.mean_angle == 2.0, "of client 0 alone"
    assert second.mean_angle == 3.5, "of 3 and 4"
    one, two, three, four = witness.views
    assert one.extra is None
    assert one.client_state is None
    assert two.client_state is not None
    assert np.array_equal(two.client_state, first.arrivals[0].delta)
    assert three.extra is not None
    assert np.array_equal(three.extra, start)
    assert three.client_state is not None
    assert np.array_equal(three.client_state, first.arrivals[1].delta)
    assert four.extra is None
    assert four.client_state is None
    assert [view.speed for view in witness.views] == [None, None, 2.0, None], "2 of 2 arrivals, by 2 clients"
    assert [row.weight for row in memory.jobs if row.outcome == "arrived"] == [1.0] * 4
    assert (first.version, second.version) == (0, 1)
    assert not first.state
    assert second.state["rounds"].tolist() == [1]
    assert [a.previous_client_state is None for a in first.arrivals] == [True, False]
    assert first.arrivals[1].previous_client_state is not None
    assert np.array_equal(first.arrivals[1].previous_client_state, first.arrivals[0].delta)
    assert second.arrivals[0].previous_client_state is not None
    assert np.array_equal(second.arrivals[0].previous_client_state, first.arrivals[1].delta)
    assert all(a.client_state is a.delta for a in (*first.arrivals, *second.arrivals))
    assert second.shares().sum() == pytest.approx(1.0)
