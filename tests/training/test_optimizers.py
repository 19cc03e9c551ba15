"""SGD on (n, P) matrices against torch.optim.SGD on each model alone."""

import numpy as np
import pytest
import torch

from fedqs_ray.core.types import Plan
from fedqs_ray.training.optimizers import SGD, clip_gradients, clip_scales

PLANS = [Plan(0.1), Plan(0.2, momentum=0.5), Plan(0.05, proximal=2.0), Plan(0.3, momentum=0.9, proximal=0.5)]
SIZE, CLIP = 7, 1.5


def make_draws(count: int) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Models (n, P), a correction (P,), and gradients (n, P) of three steps."""
    draw = torch.Generator().manual_seed(0)
    gradients = [torch.randn(count, SIZE, generator=draw) for _ in range(3)]
    return torch.randn(count, SIZE, generator=draw), torch.randn(SIZE, generator=draw), gradients


def step_plainly(model: torch.Tensor, plan: Plan, correction: torch.Tensor | None, row: int) -> torch.Tensor:
    """The slow twin: one model after three steps of torch's optimiser."""
    parameter = torch.nn.Parameter(model.clone())
    optimizer = torch.optim.SGD([parameter], lr=plan.lr, momentum=plan.momentum)
    for gradients in make_draws(len(PLANS))[2]:
        parameter.grad = gradients[row] + plan.proximal * (parameter.detach() - model)
        torch.nn.utils.clip_grad_norm_([parameter], CLIP)
        if correction is not None:
            parameter.grad += correction
        optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize("rows", [range(4), *([row] for row in range(4))], ids=str)
def test_steps_are_those_of_torch_for_each_model(rows: list[int]) -> None:
    models, correction, steps = make_draws(len(PLANS))
    corrections = [None, correction, None, correction]
    parameters, gradients = models[rows].clone(), torch.empty(len(rows), SIZE)
    sgd = SGD(parameters, gradients, CLIP)
    for _ in range(2):  # the second job must not feel the first
        parameters.copy_(models[rows])
        sgd.begin([PLANS[row] for row in rows], [corrections[row] for row in rows])
        for step in steps:
            gradients.copy_(step[rows])
            sgd.step()
    for place, row in enumerate(rows):
        expected = step_plainly(models[row], PLANS[row], corrections[row], row)
        torch.testing.assert_close(parameters[place], expected, rtol=1e-5, atol=1e-6)


def test_a_model_alone_gets_the_bits_that_it_gets_among_others() -> None:
    models, correction, steps = make_draws(len(PLANS))
    corrections = [correction] * 4
    together = models.clone()
    sgd = SGD(together, gradients := torch.empty(4, SIZE), CLIP)
    sgd.begin(PLANS, corrections)
    for step in steps:
        gradients.copy_(step)
        sgd.step()
    for row in range(4):
        alone = models[row : row + 1].clone()
        sgd = SGD(alone, gradient := torch.empty(1, SIZE), CLIP)
        sgd.begin([PLANS[row]], corrections[:1])
        for step in steps:
            gradient.copy_(step[row])
            sgd.step()
        assert torch.equal(alone[0], together[row])


def test_models_that_are_done_stay_as_they_are() -> None:
    models, _, (gradients, *_) = make_draws(len(PLANS))
    before = models.clone()
    sgd = SGD(models, gradients, CLIP)
    sgd.begin(PLANS)
    sgd.keep_first(2)
    sgd.step()
    assert torch.equal(models[2:], before[2:])
    assert not torch.isclose(models[:2], before[:2]).any()


def test_clipping_each_gradient_by_its_own_norm() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4], [1e30, 0.0], [torch.nan, 1.0], [torch.inf, 1.0]])
    for chosen in ([0], [1], [2], [3], [4], [0, 1], [1, 2], [0, 1, 2, 3, 4]):
        found = rows[chosen].clone()
        clip_gradients(found, 2.5)
        for row, own in zip(chosen, found, strict=True):
            match row:
                case 0:
                    assert torch.allclose(own, torch.tensor([1.5, 2.0]))
                case 1:
                    assert torch.equal(own, rows[1])
                case 2:
                    assert torch.allclose(own, torch.tensor([2.5, 0.0])), "its square is too large for float32"
                case _:
                    assert own.isnan().all(), "the server rejects it"


def test_scales_without_a_branch_are_those_of_the_short_cut() -> None:
    """On a GPU, gradients of any norm are multiplied by them."""
    norms = torch.tensor([[0.0], [2.5], [5.0], [torch.inf], [torch.nan]], dtype=torch.float64)
    expected = [1.0, 1.0, 2.5 / (5.0 + 1e-6), np.nan, np.nan]
    np.testing.assert_allclose(clip_scales(norms, 2.5)[:, 0].numpy(), expected, rtol=1e-7)
