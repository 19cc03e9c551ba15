"""How a run can end other than well."""


class SimulationStopped(RuntimeError):
    """The run cannot go on. The message says why; the tables up to here can be read."""

    folder: str | None = None
    """Where they are."""


class Interrupted(SimulationStopped):
    """Somebody asked the run to stop."""


class LawBroken(AssertionError):
    """A mistake in the simulator itself: the accounts do not add up."""
