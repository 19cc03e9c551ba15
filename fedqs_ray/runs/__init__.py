"""A run's folder: what lies in it, who may write to it, and how it is read."""
