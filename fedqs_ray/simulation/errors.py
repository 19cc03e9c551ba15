"""How a run can end other than well."""


class SimulationStopped(RuntimeError):
    """The run cannot go on. The message says why; the tables up to here can be read."""

    folder: str | None = None
    """Where they are: a path or a URI."""


class Interrupted(SimulationStopped):
    """Somebody asked the run to stop."""


class RunInterrupted(KeyboardInterrupt):
    """A run was asked to stop and did, between two events."""

    def __init__(self, message: str, folder: str) -> None:
        super().__init__(message)
        self.folder = folder
        """Where it is: a path or a URI."""


class LawBroken(AssertionError):
    """A mistake in the simulator itself: the accounts do not add up."""
