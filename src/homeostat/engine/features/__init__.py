"""Features: one definition, computed point in time for training and from the online store for serving."""
