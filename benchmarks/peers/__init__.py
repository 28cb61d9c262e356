"""Other servers of the same model, each run by the interpreter of an environment of its own."""
