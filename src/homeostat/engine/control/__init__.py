"""What decides: the sequential test behind a canary, and the rules behind a retraining."""
