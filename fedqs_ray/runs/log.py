"""A run's log: JSON lines of what somebody would look for when a run went wrong.

Whoever has something to say calls `logging.getLogger(__name__).info(event, extra=facts)`; here it becomes a line, with
the time and the round at which it happened.
"""

import contextlib
import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from fedqs_ray.core.text import brief_message
from fedqs_ray.runs.layout import LOG

PLAIN = {*vars(logging.makeLogRecord({})), "message"}
"""What every record has; the rest are facts, except for what begins with an underscore: Ray adds such things."""

log = logging.getLogger(__name__)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of the log in `folder`, as far as they are whole; none where there is no log."""
    found: list[dict[str, Any]] = []
    if (path := folder / LOG).exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                found.append(json.loads(line))
    return found


class Lines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        facts = {key: value for key, value in vars(record).items() if key not in PLAIN and key[0] != "_"}
        line = {"at": at, "level": record.levelname.lower(), "event": record.getMessage(), **facts}
        return json.dumps(line, default=str, ensure_ascii=False)


class RunLog:
    """Appends what this package logs in this process to the log in `folder`; opened and closed by `with`.

    `facts` are what is known when the run starts. What ends it is noted as well.
    """

    def __init__(self, folder: Path, **facts: Any) -> None:
        self.folder, self.facts = folder, facts
        self.round: int | None = None
        """The newest version, once there is one."""

    def _at(self, record: logging.LogRecord) -> bool:
        """Add the round to a record."""
        if self.round is not None:
            record.round = self.round
        return True

    def __enter__(self) -> "RunLog":
        """Raises OSError where the log cannot be written."""
        self._handler = logging.FileHandler(self.folder / LOG, encoding="utf-8")
        self._handler.setFormatter(Lines())
        self._handler.addFilter(self._at)
        package = logging.getLogger("fedqs_ray")
        package.setLevel(logging.INFO)
        package.addHandler(self._handler)
        log.info("run started", extra=self.facts)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            log.info("run finished")
        else:
            log.error("run stopped", extra={"error": type(error).__name__, "reason": brief_message(error)})
        logging.getLogger("fedqs_ray").removeHandler(self._handler)
        self._handler.close()
