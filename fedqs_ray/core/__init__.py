"""The vocabulary of the package. Imports nothing else of it."""
