"""Executors: in this process, as Ray actors, on the nodes of a Flower federation."""
