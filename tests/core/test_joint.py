"""Architecture and recipe in one space: which fields and values there are, and what is refused before anything is trained."""

from __future__ import annotations

from dataclasses import replace

import pytest

from expand.config.overrides import override, with_recipe_axes
from expand.config.single_network import Alone
from expand.core.errors import UsageError
from expand.core.joint import JointSpace, RecipeAxis, joint
from expand.core.study import Recipe, Study
from expand.counting.cost import cost_of
from expand.strategies.guided import Guided
from search_spaces.x3d import X3DSpace
from studies import x3d_stepwise

PLAIN = Study("plain", X3DSpace(), Guided(), Recipe(learning_rate=0.05, weight_decay=1e-4))
RATE = RecipeAxis("learning_rate", 0.0125, 0.2)
JOINT = joint(PLAIN, RATE, RecipeAxis("weight_decay", choices=(5e-5, 5e-4)))


def test_numbers_are_tried_in_doublings_or_as_given():
    assert RATE.values == (0.0125, 0.025, 0.05, 0.1, 0.2)
    assert RecipeAxis("learning_rate", 0.1, 0.5).values == (0.1, pytest.approx(0.223607), 0.5)
    assert RecipeAxis("batch_size", 8, 32).values == (8, 16, 32)
    assert RecipeAxis("optimiser", choices=("sgd", "adamw")).values == ("sgd", "adamw")
    assert RecipeAxis("nesterov", choices=(True, False)).values == (True, False)
    assert [type(value) for value in RecipeAxis("mixup", choices=(0, 1)).values] == [float, float]


def test_the_search_starts_at_the_recipe_or_near_it():
    assert JOINT.space.start.as_dict() == PLAIN.space.start.as_dict() | {"learning_rate": 0.05, "weight_decay": 5e-5}
    assert JOINT.recipe == replace(PLAIN.recipe, weight_decay=5e-5)
    assert JOINT.space.point("m")["learning_rate"] == 0.05
    assert joint(PLAIN, RecipeAxis("learning_rate", 0.1, 0.4)).recipe.learning_rate == 0.1
    again = joint(JOINT, RecipeAxis("learning_rate", 0.01, 0.02))
    assert [axis.name for axis in again.space.recipe_axes] == ["weight_decay", "learning_rate"]


def test_a_point_is_trained_by_its_own_recipe_and_costs_what_its_network_costs():
    point = JOINT.space.point("S", learning_rate=0.2, weight_decay=5e-4)
    assert JOINT.recipe_of(point) == replace(JOINT.recipe, learning_rate=0.2, weight_decay=5e-4)
    family, network = JOINT.space.network_of(point)
    assert (family, network) == (PLAIN.space, PLAIN.space.point("S"))
    assert cost_of(JOINT.space, point, 10) is cost_of(family, network, 10)
    assert PLAIN.recipe_of(network) is PLAIN.recipe


def test_a_family_that_inherits_another_ones_plan_is_still_counted_by_itself():
    class Other(X3DSpace):
        def constructor(self, architecture, num_classes):
            network, arguments = super().constructor(architecture, num_classes)
            return network, arguments | {"head_width": 8}

    family = Other(resolution=16, width=0.2, depth=0.2)
    space = joint(replace(PLAIN, space=family), RATE).space
    assert cost_of(space, space.start, 10).params == cost_of(family, family.start, 10).params


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: RecipeAxis("learning_rat", 0.1, 1), "did you mean 'learning_rate'"),
        (lambda: RecipeAxis("epochs", 2, 8), "recipe axis epochs: budgets and pauses count epochs"),
        (lambda: RecipeAxis("weights", choices=("a", "b")), "start from the same file"),
        (lambda: RecipeAxis("scale_jitter", 1, 2), "it holds several values"),
        (lambda: RecipeAxis("learning_rate"), "wanted 0 < low < high"),
        (lambda: RecipeAxis("learning_rate", 0.1, 1, (0.1, 1)), "either choices or numbers"),
        (lambda: RecipeAxis("learning_rate", choices=(1, 1.0)), "at least two choices, each once"),
        (lambda: RecipeAxis("optimiser", 1, 2), "it is no number; give choices"),
        (lambda: RecipeAxis("optimiser", choices=("sgd", "adam")), "did you mean 'adamw'"),
        (lambda: RecipeAxis("nesterov", choices=(1, 0)), "not true or false"),
        (lambda: RecipeAxis("learning_rate", 0.1, 1, start=2), "allowed are 0.1 to 1"),
        (lambda: joint(PLAIN, RecipeAxis("label_smoothing", choices=(0.1, 1))), "label_smoothing=1.0: 0 to below 1"),
        (lambda: joint(PLAIN, RecipeAxis("momentum", choices=(0, 0.9))), "axis momentum: recipe.nesterov=True"),
        (lambda: joint(PLAIN, RATE, RATE), "has an axis of this name already"),
        (
            lambda: joint(replace(PLAIN, recipe=Recipe(updates=9)), RecipeAxis("batch_size", 8, 32)),
            "with recipe.updates it changes the work of an epoch",
        ),
        (lambda: override(JOINT, ["recipe.learning_rate=0.1"]), "set space.recipe_axes.learning_rate.start too"),
        (lambda: JOINT.space.architecture(learning_rat=0.1), "did you mean 'learning_rate'"),
        (lambda: JOINT.space.architecture(learning_rate=1), "learning_rate=1: allowed are 0.0125 to 0.2"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(make, says):
    with pytest.raises(UsageError) as refused:
        make()
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_two_axes_whose_values_do_not_go_together_are_refused():
    axes = RecipeAxis("momentum", choices=(0.5, 0)), RecipeAxis("nesterov", choices=(False, True))
    plain = replace(PLAIN, recipe=Recipe(nesterov=False))
    assert joint(plain, axes[0]).space.recipe_axes[0].values == (0.5, 0)
    with pytest.raises(UsageError, match=r"recipe axis momentum with nesterov: recipe\.nesterov=True"):
        joint(plain, *axes)


def test_axes_are_typed_as_a_range_or_as_values():
    typed = with_recipe_axes(PLAIN, ["recipe.learning_rate=0.0125..0.2", "optimiser=sgd, adamw", "nesterov=true,no"])
    assert typed.space.recipe_axes == (
        replace(RATE, start=0.05),
        RecipeAxis("optimiser", choices=("sgd", "adamw"), start="sgd"),
        RecipeAxis("nesterov", choices=(True, False), start=True),
    )
    for text in ("learning_rate", "learning_rate=", "learning_rate=a..b", "learning_rate=0.1,x", "flip=true,perhaps"):
        with pytest.raises(UsageError, match=f"--recipe-axis {text}: "):
            with_recipe_axes(PLAIN, [text])
    assert with_recipe_axes(PLAIN, []) is PLAIN


def test_its_fields_can_be_set():
    both = ["recipe.learning_rate=0.1", "space.recipe_axes.learning_rate.start=0.1", "space.family.frames=4"]
    changed = override(JOINT, both)
    assert changed.space.start["learning_rate"] == 0.1 and changed.space.start["frames"] == 4
    assert override(JOINT, ["space.recipe_axes.weight_decay.choices=5e-5,1e-4"]).space.recipe_axes[1].values == (
        5e-5,
        1e-4,
    )


def test_a_stepwise_expansion_refuses_it_and_a_single_training_leaves_it_out():
    stepwise = joint(x3d_stepwise.study("demo"), RATE)
    with pytest.raises(UsageError, match="recipe axis learning_rate: a stepwise expansion doubles the cost"):
        stepwise.strategy.ask(stepwise, (), lambda network: 1)
    alone = Alone("one", PLAIN.space.start.to_json(), "", (0,)).study(JOINT, "")
    assert alone.space == PLAIN.space and not isinstance(alone.space, JointSpace)
