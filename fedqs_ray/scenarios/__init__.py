"""Scenarios: pure draws of durations, losses and leaving. None ever sees a model."""
