"""The device that a client trains on."""

import os
from typing import Literal

from fedqs_ray.core.exceptions import ConfigError

LOGICAL_GPUS = "FEDQS_LOGICAL_GPUS"
"""Environment variable of a Ray session whose GPUs exist for its scheduler only; `open_session(gpus=...)` sets it."""


def choose_device(num_gpus: float) -> Literal["cuda", "cpu"]:
    """The GPU if `clients.num_gpus` reserves one, else the CPU.

    Raises `ConfigError` where torch finds no CUDA device for it, unless the session's GPUs are logical.
    """
    if not num_gpus:
        return "cpu"
    import torch  # seconds, and the driver needs only the name above

    if torch.cuda.is_available():
        return "cuda"
    if os.environ.get(LOGICAL_GPUS):
        return "cpu"
    raise ConfigError(
        f"clients.num_gpus = {num_gpus:g}: torch {torch.__version__} finds no CUDA device in the client actor; "
        "must be 0 there"
    )
