"""Exceptions.

FedqsError              a mistake in what the user gave: one line, exit status 2
    ConfigError         a setting: its name, its value, what is allowed
    DataError           a dataset, a trace or another file of input
    RunFolderError      a folder of results
SimulationStopped       the run cannot go on; what it wrote so far can be read
    Interrupted         inside the server: it was asked to stop
RunInterrupted          the run was asked to stop and did (a KeyboardInterrupt)
InvariantError          a mistake in the simulator itself (an AssertionError)
"""


class FedqsError(ValueError):
    """A user's mistake, in one line: the setting, file or folder, its value, what is allowed."""


class ConfigError(FedqsError):
    """A mistake in a setting: its name, its value, what is allowed."""


class DataError(FedqsError):
    """A dataset, a trace or another file of input that cannot be used."""


class RunFolderError(FedqsError):
    """A folder of results that is missing, damaged, taken, or of another kind than expected."""


class SimulationStopped(RuntimeError):
    """The run cannot go on. The message says why; the tables written so far can be read."""

    folder: str | None = None
    """Where they are: a path or a URI."""


class Interrupted(SimulationStopped):
    """The server was asked to stop and stopped between two events."""


class RunInterrupted(KeyboardInterrupt):
    """The run was asked to stop and stopped between two events."""

    def __init__(self, message: str, folder: str) -> None:
        super().__init__(message)
        self.folder = folder
        """Where it is: a path or a URI."""


class InvariantError(AssertionError):
    """A mistake in the simulator itself: its accounts do not add up."""
