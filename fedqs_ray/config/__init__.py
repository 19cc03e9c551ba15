"""Settings: what there is, how they are read, and what is said of a mistake. Knows no numpy."""
