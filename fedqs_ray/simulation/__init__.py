"""The simulation: clock, client table, buffer and loop. Knows an `Executor`, not Ray."""
