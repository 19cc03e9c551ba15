"""Settings: definitions, loading, error messages, help and reference page. Imports no numpy."""
