"""Server and clients as Ray actors."""
