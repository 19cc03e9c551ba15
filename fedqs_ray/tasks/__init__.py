"""Tasks: datasets, their division over clients, and models.

`models` imports torch, which takes seconds; all else is numpy and Arrow.
"""
