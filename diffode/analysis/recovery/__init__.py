"""The coefficient table of a black box: probing, tables, matching with the registry, and order from outside."""

from diffode.analysis.recovery.blackbox import Recovered, recover
from diffode.analysis.recovery.matching import Match, matches
from diffode.analysis.recovery.table import Table

__all__ = ["Match", "Recovered", "Table", "matches", "recover"]
