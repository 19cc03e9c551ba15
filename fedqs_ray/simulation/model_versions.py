"""Model versions that jobs under way or in the buffer still need."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from fedqs_ray.core.interfaces import Handle
from fedqs_ray.core.types import Job, Vector


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of the global model."""

    model: Vector
    handle: Handle
    extra: Handle | None = None
    """The vector that the algorithm sends with it, if there is one."""


class ModelVersions:
    """Versions, each kept while a job under way or in the buffer needs it; the newest two always are."""

    def __init__(self, history: bool) -> None:
        self.history = history
        """Whether a job needs the version before its own as well."""
        self._kept: dict[int, ModelVersion] = {}
        self._users: Counter[int] = Counter()

    def __getitem__(self, number: int) -> ModelVersion:
        return self._kept[number]

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[tuple[int, ModelVersion]]:
        return iter(self._kept.items())

    def handles(self, job: Job) -> tuple[Handle, Handle | None]:
        """References to a job's version and to the extra vector: the version before it, or the algorithm's own."""
        own = self._kept[job.version]
        if not self.history:
            return own.handle, own.extra
        return own.handle, self._kept[job.version - 1].handle if job.version else None

    def add(self, number: int, version: ModelVersion) -> None:
        """Keep a version."""
        self._kept[number] = version

    def forget(self, newest: int) -> None:
        """Drop the versions that no job needs any more."""
        for old in [n for n in self._kept if n < newest - 1 and not self._users[n]]:
            del self._kept[old]
            self._users.pop(old, None)

    def hold(self, job: Job) -> None:
        """Keep the versions that a job needs."""
        self._users.update(self._needs(job))

    def release(self, job: Job) -> None:
        """A job needs its versions no longer."""
        self._users.subtract(self._needs(job))

    @property
    def free(self) -> bool:
        """Whether no job needs any."""
        return not any(self._users.values())

    def _needs(self, job: Job) -> list[int]:
        return [job.version - 1, job.version] if self.history and job.version else [job.version]
