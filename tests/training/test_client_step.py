"""The client's step with a training that is a line of numpy."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.interfaces import Aggregation, Algorithm, ClientView, Round
from fedqs_ray.core.types import Job, Plan, Thresholds, TrainingRequest, Vector
from fedqs_ray.training.client_step import ClientStep, Trained, inject_fault

Make = Callable[..., Experiment]
MODEL = np.arange(300, dtype=np.float32)
JOB = Job(3, 1, 5, 0.0, 1.0, False, 0.25, 1.5, Thresholds(1.0, 90.0))


class Spy(Algorithm):
    """Plans, corrects, and keeps the steps as the client state."""

    def __init__(self, state: object = None) -> None:
        self.state, self.views, self.steps = state, list[ClientView](), list[int]()

    def plan(self, view: ClientView) -> Plan:
        self.views.append(view)
        return Plan(lr=view.lr, momentum=view.label_accuracy()[0][0])

    def correction(self, view: ClientView) -> Vector | None:
        return view.model * np.float32(2)

    def client_state(self, view: ClientView, plan: Plan, delta: Vector, steps: int) -> Vector | None:
        self.steps.append(steps)
        return self.state  # type: ignore[return-value]

    def aggregate(self, round: Round) -> Aggregation:
        raise AssertionError(round)


def begin(setting: Experiment, algorithm: Algorithm, job: Job = JOB) -> ClientStep:
    request = TrainingRequest(job, MODEL, MODEL + 1, MODEL + 2)
    return ClientStep(algorithm, setting, request, 200, lambda: [(0.5, 20)])


def test_a_step_from_request_to_update(experiment: Make) -> None:
    setting, state = experiment("training.local_epochs=3", "training.batch_size=16"), np.ones(4, np.float32)
    spy = Spy(state)
    step = begin(setting, spy)
    assert step.plan == Plan(lr=0.25, momentum=0.5)
    assert np.array_equal(step.correction, 2 * MODEL)  # type: ignore[arg-type]
    (view,) = spy.views
    assert (view.lr, view.speed, view.thresholds, view.parameters) == (0.25, 1.5, JOB.thresholds, 200)
    assert [vector[0] for vector in (view.model, view.extra, view.client_state) if vector is not None] == [0, 1, 2]
    update = step.make_update(Trained(MODEL - 2, 33, 0.7))
    assert np.array_equal(update.delta, np.full(300, -2, np.float32))
    assert (update.plan, update.samples, update.loss, update.largest) == (step.plan, 33, 0.7, 2.0)
    assert update.client_state is state
    step.make_update(Trained(MODEL, 33, 0.7, steps=2))
    assert spy.steps == [3 * 3, 2], "of 33 samples in batches of 16; as trained"


def test_an_update_that_is_not_finite_has_no_client_state(experiment: Make) -> None:
    spy = Spy(np.ones(4, np.float32))
    update = begin(experiment(), spy).make_update(Trained(np.full_like(MODEL, np.inf), 33, 0.7))
    assert (update.client_state, spy.steps, update.largest) == (None, [], np.inf)


def test_mistakes_of_an_algorithm(experiment: Make) -> None:
    class Bad(Spy):
        def plan(self, view: ClientView) -> Plan:
            return Plan(lr=-1.0)

    with pytest.raises(ValueError, match=r"\.plan returned lr = -1\.0"):
        begin(experiment(), Bad())
    with pytest.raises(TypeError, match=r"client_state returned \[1\.0\]; must be a float32 vector or None"):
        begin(experiment(), Spy([1.0])).make_update(Trained(MODEL, 1, 0.0))


def test_faults_are_injected(experiment: Make) -> None:
    ones = np.ones(300, np.float32)
    for fault, changed in ((None, 0), ("crash", 0), ("corrupt", 3), ("nan", 300)):
        delta, again = ones.copy(), ones.copy()
        job = replace(JOB, fault=fault)  # type: ignore[arg-type]
        inject_fault(7, job, delta)
        inject_fault(7, job, again)
        assert int((delta != ones).sum()) == changed
        assert delta.tobytes() == again.tobytes()
    update = begin(experiment(), Spy(), replace(JOB, fault="nan")).make_update(Trained(MODEL + 1, 33, 0.7))
    assert np.isnan(update.delta).all()
    assert not np.isfinite(update.largest)


def test_no_torch_is_imported() -> None:
    """Nodes of a federation may train with anything."""
    script = "import sys, fedqs_ray.training.client_step as step; assert 'torch' not in sys.modules, step"
    subprocess.run([sys.executable, "-c", script], check=True)
