"""The order of a step rule, proved from the outside: trees, test systems, generic processes, and the proof."""

from diffode.analysis.order.proof import Failure, OrderProof, prove_order
from diffode.analysis.order.trees import Tree, trees

__all__ = ["Failure", "OrderProof", "Tree", "prove_order", "trees"]
