"""Local training and evaluation on PyTorch: what every backend calls for a client's step."""
