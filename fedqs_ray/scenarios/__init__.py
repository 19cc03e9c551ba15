"""Scenarios: random draws of durations, availability, losses and leaving, independent of models."""
