"""Option files: reading them, and checking all of them before anything starts."""
