"""Flower: what was simulated drives a real federation.

`serve` is what a ServerApp calls, `client_app` makes the ClientApp of its nodes; docs/flower.md has both. Needs the
package flwr, which nothing else here does.
"""

from fedqs_ray.backends.flower.client import Trained, Work, client_app
from fedqs_ray.backends.flower.server import serve, settings

__all__ = ["Trained", "Work", "client_app", "serve", "settings"]
