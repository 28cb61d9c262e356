"""What a training saw and ran under: the training set, the environment, the code's commit, the seeds."""

from homeostat.engine.tracking.training import TrainingSet

__all__ = ["TrainingSet"]
