"""The coefficient table of a black box: probing, tables, matching with the registry, and order from outside."""

from diffode.analysis.recovery.blackbox import Recovered, recover
from diffode.analysis.recovery.matching import Match, matches
from diffode.analysis.recovery.order import Outside, order_from_outside
from diffode.analysis.recovery.table import Table

__all__ = ["Match", "Outside", "Recovered", "Table", "matches", "order_from_outside", "recover"]
