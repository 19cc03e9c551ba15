"""Run folders: layout, lock, tables, checkpoints, log, copies in object stores, and results read back."""
