"""The settings of local training."""

from typing import Annotated, Literal

from pydantic import Field

from fedqs_ray.config.base import MANY, Section


class Training(Section):
    """Local training: SGD on the client's own samples."""

    local_epochs: int = Field(2, ge=0, le=MANY)
    """E, passes over the client's training samples (FedQS paper: 2). 0: none, to time
    everything else."""
    batch_size: int = Field(50, ge=1, le=MANY)
    """B, samples a step (FedQS paper: 50). A client with fewer trains on what it has."""
    lr: float = Field(0.1, gt=0, le=1e6)
    """eta_0, learning rate (FedQS paper: 0.1)."""
    clip_norm: float = Field(20.0, gt=0)
    """Largest norm of a step's gradient; larger ones are scaled down (FedQS paper: 20)."""
    clients_per_step: Annotated[int, Field(ge=1, le=1000)] | Literal["auto"] = "auto"
    """Clients that an actor trains at once, in one batch of batches: the same updates but for rounding. 1: one after
    another. "auto": 8 for mlp and fcn, where that is several times faster, else 1."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: convolutions are computed in it (autocast), about twice as fast on CPUs that know it; weights and all
    else stay float32. For cnn, resnet18 and vgg16."""
    cuda_graphs: bool = False
    """On a GPU: record a training step as a CUDA graph, once for each batch size, and replay it: one launch a step in
    the place of hundreds. For clients trained one after another, by algorithms that add nothing to gradients."""
    deterministic: bool = False
    """On a GPU: only kernels that give the same bits every time, so that a job done again is the same. Slower; a CPU
    needs no such thing."""

    def steps(self, samples: int) -> int:
        """Steps that a client with so many training samples takes; the last of an epoch may be short."""
        return self.local_epochs * -(-samples // self.batch_size)
