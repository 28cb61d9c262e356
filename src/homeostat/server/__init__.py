"""HTTP in front of the use cases: what speaks to clients, and nothing that decides."""
