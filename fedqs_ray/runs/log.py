"""A run's log: a JSON line for every event that helps to find out why a run went wrong.

Any module of this package calls `logging.getLogger(__name__).info(event, extra=facts)`; here it becomes a line, with
the time and the round at which it happened.
"""

import contextlib
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedqs_ray.core.interfaces import Observer
from fedqs_ray.core.rows import Progress
from fedqs_ray.core.text import shorten_message
from fedqs_ray.runs.layout import LOG

PLAIN = {*vars(logging.makeLogRecord({})), "message"}
"""What every record has; the rest are facts, except for what begins with an underscore: Ray adds such things."""

log = logging.getLogger(__name__)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Read the complete lines of the log in `folder`; none where there is no log."""
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


class RunLog(Observer):
    """Appends what this package logs in this process to the log in `folder`, from the run's start to its end.

    `facts` go into the first line, "run started". The last line names the error that ended the run, if any.
    """

    def __init__(self, folder: Path, **facts: Any) -> None:
        self.folder, self.facts = folder, facts
        self.round: int | None = None
        """The current round; None before the first."""

    def begin(self) -> None:
        """Raises OSError where the log cannot be written."""
        self._handler = logging.FileHandler(self.folder / LOG, encoding="utf-8")
        self._handler.setFormatter(Lines())
        self._handler.addFilter(self._add_round)
        package = logging.getLogger("fedqs_ray")
        package.setLevel(logging.INFO)
        package.addHandler(self._handler)
        log.info("run started", extra=self.facts)

    def event(self, look: Callable[[], Progress]) -> None:
        if self.round is None:  # a resumed run may log long before its next version
            self.round = look().round

    def version(self, progress: Progress) -> None:
        self.round = progress.round

    def end(self, error: BaseException | None) -> None:
        if error is None:
            log.info("run finished")
        else:
            log.error("run stopped", extra={"error": type(error).__name__, "reason": shorten_message(error)})
        logging.getLogger("fedqs_ray").removeHandler(self._handler)
        self._handler.close()

    def _add_round(self, record: logging.LogRecord) -> bool:
        """Add the round to a record."""
        if self.round is not None:
            record.round = self.round
        return True
