"""Data in Ray's object store: one copy of the same data, however many runs of this process use it at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import ray

from fedqs_ray.core.types import ClientStatistics
from fedqs_ray.tasks.federated import FederatedData


@dataclass(frozen=True, eq=False, slots=True)
class SharedData:
    """Data in the object store. In calls, pass this: Ray would replace a bare reference by the data themselves."""

    reference: Any
    statistics: ClientStatistics
    """They travel without the data; their fingerprint reads those in the store."""


_users: dict[SharedData, tuple[FederatedData, int]] = {}
"""What lies in the store, with the data here, and how many runs use it."""
_lock = threading.Lock()


@contextmanager
def share_data(data: FederatedData) -> Iterator[SharedData]:
    """Put data into the object store for a while, unless a run of this process has the same data there already."""
    with _lock:
        shared = next((one for one, (other, _) in _users.items() if is_equal(other, data)), None) or put_data(data)
        own, count = _users.get(shared, (data, 0))
        _users[shared] = own, count + 1
    try:
        yield shared
    finally:
        with _lock:
            own, count = _users.pop(shared)
            if count > 1:
                _users[shared] = own, count - 1


def put_data(data: FederatedData) -> SharedData:
    """Copy data into the object store."""
    reference = ray.put(data)
    return SharedData(reference, replace(data.client_statistics(), fingerprint=lambda: ray.get(reference).fingerprint))


def is_equal(one: Any, other: Any) -> bool:
    """Whether two data hold the same, number by number."""
    if one is other:
        return True
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    if is_dataclass(one):
        return type(one) is type(other) and all(
            is_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)
        )
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_equal(value, other[key]) for key, value in one.items())
    return bool(one == other)
