"""For the time of the move: where records used to be."""

from backend.kinds import Activations, Answers, HeadScores, InductionScores, Sweep
from backend.records import ModelInfo, Questions, Record

__all__ = ["Activations", "Answers", "HeadScores", "InductionScores", "ModelInfo", "Questions", "Record", "Sweep"]
