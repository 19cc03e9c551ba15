"""Random streams: an independent one for each (seed, purpose, client, attempt).

No draw depends on other clients or on the number of earlier draws. Hence every algorithm meets the same arrivals
under one seed, on any number of actors. Built on
`numpy.random.SeedSequence` spawn keys; no global generator is ever seeded.
"""

from typing import Literal, get_args

import numpy as np

Purpose = Literal[
    "split", "partition", "model", "resource", "sampling", "training", "jitter", "loss", "leave", "data", "bandwidth",
    "fault", "corrupt", "draw", "tune", "fingerprint"
]  # fmt: skip
"""Purpose of a stream. The order is part of the format: new purposes go to the end."""

_CODES: dict[str, int] = {name: code for code, name in enumerate(get_args(Purpose))}


def make_seed_sequence(seed: int, purpose: Purpose, client: int = 0, attempt: int = 0) -> np.random.SeedSequence:
    """Make the seed sequence of one stream. All arguments are non-negative integers."""
    return np.random.SeedSequence(seed, spawn_key=(_CODES[purpose], client, attempt))


def stream(seed: int, purpose: Purpose, client: int = 0, attempt: int = 0) -> np.random.Generator:
    """Make a generator at the start of one stream. All arguments are non-negative integers."""
    return np.random.Generator(np.random.Philox(make_seed_sequence(seed, purpose, client, attempt)))


def derive_torch_seed(seed: int, purpose: Purpose, client: int = 0, attempt: int = 0) -> int:
    """Derive a 63-bit seed for `torch.manual_seed` from the same family of streams."""
    return int(make_seed_sequence(seed, purpose, client, attempt).generate_state(1, np.uint64)[0] >> 1)
