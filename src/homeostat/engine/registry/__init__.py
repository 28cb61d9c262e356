"""Model versions: what a package holds, how good a candidate is, and whether it may serve."""
