"""SGD with a proximal term, clipping, a correction and momentum, on (n, P) matrices: n models at once, or one alone.

Nothing in a step on a GPU waits for it or takes memory that outlives the step, so that a CUDA graph can record it.
"""

from collections.abc import Sequence

import torch

from fedqs_ray.core.types import Plan

Corrections = Sequence[torch.Tensor | None]


class SGD:
    """SGD on n models, each with the learning rate, momentum, proximal term and correction of its own client.

    For each model, with gradient g of its loss: g += mu (w - w^v); g is scaled down to `clip_norm` where it is
    longer; g += correction; v = m v + g; w -= lr v. v begins at 0 (Sutskever et al. 2013, as in torch.optim.SGD;
    the proximal term is FedProx's, Li et al. 2020).
    """

    def __init__(self, parameters: torch.Tensor, gradients: torch.Tensor, clip_norm: float) -> None:
        """Step on `parameters` by `gradients`, both (n, P) float32 and changed in place."""
        self.parameters, self.gradients, self.clip_norm = parameters, gradients, clip_norm
        self.lr, self.momentum = (torch.zeros(len(parameters), 1, device=parameters.device) for _ in range(2))
        self.velocity: torch.Tensor | None = None
        self.proximal: torch.Tensor | None = None
        self.start: torch.Tensor | None = None
        self.correction: torch.Tensor | None = None

    def begin(self, plans: Sequence[Plan], corrections: Corrections = ()) -> None:
        """Begin n jobs from the models as they are now; (P,) `corrections` on the models' device, default: none."""
        self.lr.copy_(self._column([plan.lr for plan in plans]))
        self.momentum.copy_(self._column([plan.momentum for plan in plans]))
        if self.velocity is not None:
            self.velocity.zero_()
        elif any(plan.momentum for plan in plans):
            self.velocity = torch.zeros_like(self.parameters)
        self.proximal = self.start = self.correction = None
        if any(plan.proximal for plan in plans):
            self.proximal = self._column([plan.proximal for plan in plans]).to(self.parameters.device)
            self.start = self.parameters.clone()
        if any(correction is not None for correction in corrections):
            nothing = torch.zeros_like(self.parameters[0])
            self.correction = torch.stack([nothing if one is None else one for one in corrections])

    @staticmethod
    def _column(numbers: Sequence[float]) -> torch.Tensor:
        return torch.tensor(numbers, dtype=torch.float32)[:, None]

    def keep_first(self, count: int) -> None:
        """Go on with the first `count` models only: the others have taken all their steps."""
        self.parameters, self.gradients = self.parameters[:count], self.gradients[:count]
        self.lr, self.momentum = self.lr[:count], self.momentum[:count]
        optional = (self.velocity, self.proximal, self.start, self.correction)
        self.velocity, self.proximal, self.start, self.correction = (
            None if matrix is None else matrix[:count] for matrix in optional
        )

    def step(self) -> None:
        """Take one step of every model; the gradients are afterwards of no use."""
        gradients = self.gradients
        if self.start is not None and self.proximal is not None:
            gradients.addcmul_(self.parameters - self.start, self.proximal)
        clip_gradients(gradients, self.clip_norm)
        if self.correction is not None:
            gradients.add_(self.correction)
        if self.velocity is not None:
            gradients = self.velocity.mul_(self.momentum).add_(gradients)
        self.parameters.addcmul_(self.lr, gradients, value=-1.0)


def clip_gradients(gradients: torch.Tensor, clip_norm: float) -> None:
    """Scale each row of (n, P) gradients down to the norm `clip_norm` if it is longer, in place.

    A row that is not finite becomes NaN, so that the server rejects the update.
    """
    if gradients.device.type == "cpu":
        norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
        if all(norm <= clip_norm for (norm,) in norms.tolist()):  # not so where one is NaN
            return
        if bool(torch.isinf(norms).any()):  # perhaps only a square is too large for float32
            norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True, dtype=torch.float64)
        gradients.mul_(clip_scales(norms, clip_norm))
    else:  # a branch on norms would wait for the device
        norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True, dtype=torch.float64)
        gradients.mul_(clip_scales(norms, clip_norm))


def clip_scales(norms: torch.Tensor, clip_norm: float) -> torch.Tensor:
    """(n, 1) float32 factors that clip gradients of such norms; NaN for a norm that is not finite."""
    exact = norms.double()
    scales = torch.where(torch.isfinite(exact), clip_norm / (exact + 1e-6), torch.nan)
    return torch.where(norms <= clip_norm, 1.0, scales).float()
