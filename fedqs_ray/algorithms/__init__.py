"""Algorithms: pure maths on flat vectors. One file a paper; none knows Ray, a clock or a file."""
