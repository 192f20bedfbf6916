"""Kinds of results: one file each, with everything that is to be known about it.

A new measurement is a new file with a subclass of `OfTask` or `OfModel`, named in the list below. Store, bundles,
plans, command line and pages ask the class.
"""

from backend.kinds.evaluation import (  # the first: results are listed in the order of kinds
    Answers,
    Evaluation,
    evaluate,
)

# isort: split
from backend.kinds.attribution import Attribution, Attributions
from backend.kinds.constants import Constants, OptimalConstants
from backend.kinds.function_vectors import Effects, FunctionVectors
from backend.kinds.greedy import Greedy, GreedyOrder
from backend.kinds.head_gates import GateOrder, HeadGates
from backend.kinds.head_importance import HeadImportance, HeadScores
from backend.kinds.induction import Copying, InductionScores, PrefixMatching
from backend.kinds.influence import Influence, Influences
from backend.kinds.iterative import Iterative, IterativeOrder
from backend.kinds.knock_out import KnockOut
from backend.kinds.labels import Relabelled, ShuffledHeads
from backend.kinds.means import Activations, Means
from backend.kinds.model import Model
from backend.kinds.oracles import FFNOracle, HeadOracle, Sweep
from backend.kinds.orders import Order
from backend.kinds.pruning import Pruning
from backend.kinds.unit import KINDS, OfModel, OfTask, Unit, compute, fetch
from backend.kinds.writes import HeadWrites, Writes

__all__ = [
    "KINDS", "Activations", "Answers", "Attribution", "Attributions", "Constants", "Copying", "Effects", "Evaluation",
    "FFNOracle", "FunctionVectors", "GateOrder", "Greedy", "GreedyOrder", "HeadGates", "HeadImportance", "HeadOracle",
    "HeadScores", "HeadWrites", "InductionScores", "Influence", "Influences", "Iterative", "IterativeOrder", "KnockOut",
    "Means", "Model", "OfModel", "OfTask", "OptimalConstants", "Order", "PrefixMatching", "Pruning", "Relabelled",
    "ShuffledHeads", "Sweep", "Unit", "Writes", "compute", "evaluate", "fetch",
]
