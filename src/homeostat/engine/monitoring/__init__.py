"""What is watched while a model serves: drift against its training data, quality on late labels, service."""
