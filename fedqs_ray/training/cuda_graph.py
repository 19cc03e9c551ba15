"""A training step in fixed memory, so that a GPU can record it once as a CUDA graph and replay it.

A step on 50 pictures is several hundred short kernels, and starting each of them takes longer than running it; a
graph starts them all at once. On a CPU nothing is recorded and the same operations run one by one; tests compare
them with `Trainer.fit`.
"""

import torch

from fedqs_ray.core.types import Plan
from fedqs_ray.training.flat_model import FlatModel
from fedqs_ray.training.inputs import Inputs
from fedqs_ray.training.optimizers import SGD

WARM_UP = 3
"""Steps before recording, in which libraries choose their kernels."""


class RecordedSteps:
    """Steps of SGD on any number of samples; each number is recorded when it first occurs."""

    def __init__(self, model: FlatModel, inputs: Inputs, clip_norm: float, half: bool, noise: torch.Generator) -> None:
        self.model, self.inputs, self.half = model, inputs, half
        self.noise = noise
        """The generator of augmentation and dropout in all jobs: each sets its seed."""
        self.sgd = SGD(model.parameters[None], model.gradient[None], clip_norm)
        self.velocity = self.sgd.velocity = torch.zeros_like(self.sgd.parameters)
        """There without momentum too: one recording serves all plans."""
        self.memory = torch.cuda.graph_pool_handle() if model.vector.device.type == "cuda" else None
        """Shared by all graphs, which never run at the same time."""
        self._known: dict[int, RecordedStep] = {}

    def begin(self, plan: Plan) -> None:
        """Begin a job, whose plan has no proximal term."""
        assert not plan.proximal
        self.sgd.begin([plan])

    def __call__(self, features: torch.Tensor, labels: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        """One step on the samples at `batch`, (B,) indices on the device; returns its loss."""
        size = batch.numel()
        step = self._known.get(size)
        if step is None:
            step = self._known[size] = RecordedStep(
                self, features.new_empty(size, *features.shape[1:]), labels.new_empty(size)
            )
        torch.index_select(features, 0, batch, out=step.features)
        torch.index_select(labels, 0, batch, out=step.labels)
        step.run()
        return step.loss.clone()


class RecordedStep:
    """One step on a fixed number of samples, those in `features` and `labels`."""

    def __init__(self, steps: RecordedSteps, features: torch.Tensor, labels: torch.Tensor) -> None:
        self.steps, self.features, self.labels = steps, features, labels
        self.loss = torch.zeros((), device=features.device)
        self.graph: torch.cuda.CUDAGraph | None = None

    def run(self) -> None:
        """Take the step; the first one on a GPU also records it."""
        if self.features.device.type != "cuda":
            self.operations()
            return
        if self.graph is None:
            self.record()
        assert self.graph is not None
        self.graph.replay()

    def operations(self) -> None:
        """The step's operations: forward, backward, SGD; none waits for the device or takes memory that outlives it."""
        steps, model = self.steps, self.steps.model
        samples = steps.inputs.training(self.features, steps.noise)
        loss = model.loss(samples, self.labels, steps.half)
        loss.backward()  # type: ignore[no-untyped-call]
        steps.sgd.step()
        model.gradient.zero_()
        self.loss.copy_(loss.detach())

    def record(self) -> None:
        """Record the graph; model, velocity and noise are afterwards as they were."""
        steps = self.steps
        model, velocity, noise = steps.model.vector.clone(), steps.velocity.clone(), steps.noise.get_state()
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self.operations()
        here.wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        self.graph.register_generator_state(steps.noise)
        with torch.cuda.graph(self.graph, pool=steps.memory):
            self.operations()
        steps.model.vector.copy_(model)
        steps.velocity.copy_(velocity)
        steps.noise.set_state(noise)
