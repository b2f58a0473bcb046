"""A family with axes of the recipe keeps the contract of families."""

from __future__ import annotations

from expand.core.joint import JointSpace, RecipeAxis
from expand.testing.space_contract import SpaceContract
from search_spaces.mixed_conv import MixedConvSpace

AXES = (RecipeAxis("learning_rate", 0.025, 0.1, start=0.05), RecipeAxis("optimiser", choices=("sgd", "adamw")))


class TestJoint(SpaceContract):
    space = JointSpace(MixedConvSpace(), AXES)
    small = space.architecture(width=0.05, frames=4, resolution=20, optimiser="adamw")
