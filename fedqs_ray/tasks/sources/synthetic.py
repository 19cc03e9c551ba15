"""Synthetic(alpha, beta) of FedProx (Li et al. 2020, section 5.1): made on the fly for any number of clients."""

import numpy as np

from fedqs_ray.config.tasks import Synthetic
from fedqs_ray.core.random import stream
from fedqs_ray.tasks.samples import Dataset

FEATURES, CLASSES = 60, 10
TEST_SHARE = 0.2


def generate(task: Synthetic, seed: int, clients: int) -> Dataset:
    """Client k labels x by argmax(W_k x + b_k), W_k and b_k ~ N(u_k, 1), u_k ~ N(0, alpha).

    x ~ N(v_k, S) with S diagonal, S_jj = j^-1.2, v_k ~ N(B_k, 1), B_k ~ N(0, beta); alpha and beta are
    variances. A client has 50 + lognormal(4, 2) samples, of which a fifth goes to the test set.
    """
    deviation = np.arange(1, FEATURES + 1) ** -0.6
    parts = []
    for client in range(clients):
        draw = stream(seed, "data", client)
        count = min(50 + int(draw.lognormal(4.0, 2.0)), task.max_samples)
        shift = draw.normal(0.0, np.sqrt(task.alpha))
        weight, bias = draw.normal(shift, 1.0, (FEATURES, CLASSES)), draw.normal(shift, 1.0, CLASSES)
        centre = draw.normal(draw.normal(0.0, np.sqrt(task.beta)), 1.0, FEATURES)
        x = draw.normal(centre, deviation, (count, FEATURES))
        parts.append((x.astype(np.float32), (x @ weight + bias).argmax(1).astype(np.int64), int(count * TEST_SHARE)))
    return Dataset(
        np.concatenate([x[held:] for x, _, held in parts]),
        np.concatenate([y[held:] for _, y, held in parts]),
        np.concatenate([x[:held] for x, _, held in parts]),
        np.concatenate([y[:held] for _, y, held in parts]),
        CLASSES,
        {"client": np.repeat(np.arange(clients), [len(y) - held for _, y, held in parts])},
    )
