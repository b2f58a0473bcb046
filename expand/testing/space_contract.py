"""The rules that the engine requires of a family, as tests that every search space inherits. They take seconds per family.

Three lines in a test file check a family of your own, in this repository or outside it:

    class TestMine(SpaceContract):
        space = MySpace()
        small = MySpace().architecture(width=0.1)

`small` is an architecture that is fast on a CPU (default: the start); `samples` are others that should run as well. Networks run
at `small`, its neighbours and `samples`; named points, which may be large, run on shapes alone. A failure names the architecture
and the value; `docs/adding_a_family.md` explains each rule.
"""

from __future__ import annotations

from expand.testing.space_costs import CostRules
from expand.testing.space_networks import NetworkRules
from expand.testing.space_under_test import plain_kernels
from expand.testing.space_values import ValueRules

__all__ = ["SpaceContract", "plain_kernels"]


class SpaceContract(ValueRules, NetworkRules, CostRules):
    """One test method per rule. Subclasses set `space`; all else is optional."""
