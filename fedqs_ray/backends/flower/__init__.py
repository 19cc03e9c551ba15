"""Flower: a real federation driven by the simulator's own loop and algorithms.

A ServerApp calls `serve`; `client_app` makes the ClientApp of its nodes; docs/flower.md has both. Needs the package
flwr, as nothing else here does.
"""

from fedqs_ray.backends.flower.client import Work, client_app
from fedqs_ray.backends.flower.server import serve, settings
from fedqs_ray.training.client_step import Trained

__all__ = ["Trained", "Work", "client_app", "serve", "settings"]
