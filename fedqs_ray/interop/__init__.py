"""Bridges: the same loop and the same algorithms where nothing is simulated."""
