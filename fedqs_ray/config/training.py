"""Settings of local training."""

from typing import Annotated, Literal

from pydantic import Field

from fedqs_ray.config.base import MANY, Section


class Training(Section):
    """Local training: SGD on the client's own samples."""

    local_epochs: int = Field(2, ge=0, le=MANY)
    """E, passes over the client's training samples (FedQS paper: 2). 0: no training, to
    time everything else."""
    batch_size: int = Field(50, ge=1, le=MANY)
    """B, samples a step (FedQS paper: 50). A client with fewer samples uses all of them."""
    lr: float = Field(0.1, gt=0, le=1e6)
    """eta_0, learning rate (FedQS paper: 0.1)."""
    clip_norm: float = Field(20.0, gt=0)
    """Largest norm of a step's gradient; longer gradients are scaled down (FedQS paper: 20)."""
    clients_per_step: Annotated[int, Field(ge=1, le=1000)] | Literal["auto"] = "auto"
    """Clients that an actor trains together in one step, on a batch of their batches: the same updates up to rounding.
    1: one after another. "auto": 8 for mlp and fcn, where it is several times faster, else 1."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: convolutions are computed in bfloat16 (autocast), about twice as fast on CPUs that support it; weights
    and everything else stay float32. For cnn, resnet18 and vgg16."""
    cuda_graphs: bool = False
    """On a GPU: record a training step as a CUDA graph, once for each batch size, and replay it: one launch a step
    instead of hundreds. For clients trained one after another, by algorithms without gradient corrections."""
    deterministic: bool = False
    """On a GPU: use only kernels that give the same bits every time, so that a repeated job gives the same update.
    Slower. Without effect on a CPU."""

    def steps(self, samples: int) -> int:
        """Number of steps of a client with so many training samples; the last of an epoch may be short."""
        return self.local_epochs * -(-samples // self.batch_size)
