"""Kinds of results: one file each, with everything that is to be known about it.

A new measurement is a new file with a subclass of `OfTask` or `OfModel`, named in the list below. Store, bundles,
plans, command line and pages ask the class.
"""

from .evaluation import (  # the first: results are listed in the order of kinds
    Answers,
    Evaluation,
    evaluate,
)

# isort: split
from .attribution import Attribution, Attributions
from .constants import Constants, OptimalConstants
from .function_vectors import Effects, FunctionVectors
from .greedy import Greedy, GreedyOrder
from .head_gates import GateOrder, HeadGates
from .head_importance import HeadImportance, HeadScores
from .induction import Copying, InductionScores, PrefixMatching
from .influence import Influence, Influences
from .iterative import Iterative, IterativeOrder
from .knock_out import KnockOut
from .labels import Relabelled, ShuffledHeads
from .means import Activations, Means
from .model import Model
from .oracles import FFNOracle, HeadOracle, Sweep
from .orders import Order
from .pruning import Pruning
from .unit import KINDS, OfModel, OfTask, Unit, compute, fetch
from .writes import HeadWrites, Writes

__all__ = [
    "KINDS", "Activations", "Answers", "Attribution", "Attributions", "Constants", "Copying", "Effects", "Evaluation",
    "FFNOracle", "FunctionVectors", "GateOrder", "Greedy", "GreedyOrder", "HeadGates", "HeadImportance", "HeadOracle",
    "HeadScores", "HeadWrites", "InductionScores", "Influence", "Influences", "Iterative", "IterativeOrder", "KnockOut",
    "Means", "Model", "OfModel", "OfTask", "OptimalConstants", "Order", "PrefixMatching", "Pruning", "Relabelled",
    "ShuffledHeads", "Sweep", "Unit", "Writes", "compute", "evaluate", "fetch",
]
