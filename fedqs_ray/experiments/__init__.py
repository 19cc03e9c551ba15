"""Experiments: one run, a comparison, a sweep."""
