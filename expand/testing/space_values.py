"""Rules about values: canonical, refused by name, written out and read, and growing in order."""

from __future__ import annotations

import contextlib
import json
import pickle
from typing import Any

from expand.config.serialize import describe
from expand.core.errors import UsageError
from expand.core.space import Architecture, Axis
from expand.testing.checks import works
from expand.testing.space_under_test import SpaceUnderTest


class ValueRules(SpaceUnderTest):
    """Values, named points and growth."""

    def test_the_start_and_the_named_points_are_canonical(self) -> None:
        with works("the points of the space"):
            points = self.space.points
        for architecture in (*self._bases(), *points.values()):
            self._canonical(architecture)
        lower = [name.lower() for name in points]
        assert len(set(lower)) == len(lower), f"names of points that differ in case only: {', '.join(points)}"
        for name, architecture in points.items():
            for typed in (name, name.lower(), name.upper()):
                with works(f"point({typed!r})"):
                    assert self.space.point(typed) == architecture, f"point({typed!r}) is another network than {name}"

    def test_every_value_of_an_axis_is_canonical_or_refused(self) -> None:
        names = [axis.name for axis in self.space.axes]
        assert len(set(names)) == len(names), f"two axes of one name: {', '.join(names)}"
        for base in self._bases():
            for axis in self.space.axes:
                for value in axis.choices or (axis.low, axis.high):
                    changed = base.as_dict() | {axis.parameter: value}
                    with works(f"{axis.parameter}={value} at {base}"), contextlib.suppress(UsageError):
                        self._canonical(self.space.architecture(**changed))
                with works(f"value_on({base}, {axis.name})"):
                    here = self.space.value_on(base, axis)
                    assert here is None or axis.check(here) == here, (
                        f"value_on({base}, {axis.name}) is {here}: not on it"
                    )

    def test_wrong_values_are_refused_by_name(self) -> None:
        for axis in self.space.axes:
            for wrong in _wrong(axis):
                self._refused({axis.parameter: wrong}, axis.parameter)
            misspelt = axis.parameter + "x"
            if all(misspelt != other.parameter for other in self.space.axes):
                self._refused({misspelt: 1}, f"did you mean '{axis.parameter}'")

    def test_architecture_and_space_can_be_written_out(self) -> None:
        for architecture in (*self._bases(), *self._points()):
            with works(f"{architecture} as JSON"):
                assert Architecture.from_json(architecture.to_json()) == architecture, f"{architecture} is lost in JSON"
        with works("the space as plain JSON (its fields must be plain values)"):
            json.dumps(describe(self.space), allow_nan=False)
        with works("the space pickled, as workers receive it"):
            assert pickle.loads(pickle.dumps(self.space)) == self.space, "the pickled space is another space"

    def test_published_costs_are_of_legal_points(self) -> None:
        for published in self.space.published:
            with works(f"the published {published.quantity} of {published.point}"):
                self._canonical(self.space.point(published.point, **dict(published.values)))

    def test_growth_gives_other_legal_networks_in_order(self) -> None:
        for base in (*self._bases(), *self._points()):
            for axis in self.space.axes:
                larger, smaller = (self._moved(base, axis, direction) for direction in ("larger", "smaller"))
                both = set(larger) & set(smaller)
                assert not both, f"{axis.name} from {base}: both larger and smaller: {next(iter(both))}"
                if axis.choices:
                    self._follow_the_rungs(base, axis, larger, smaller)
                with works(f"published_growth({base}, {axis.name})"):
                    grown = self.space.published_growth(base, axis)
                assert grown != base, f"published_growth({base}, {axis.name}) stays where it is"
                if grown is not None:
                    self._canonical(grown)

    def _refused(self, values: dict[str, Any], words: str) -> None:
        shown = ", ".join(f"{name}={value!r}" for name, value in values.items())
        with works(f"architecture({shown}) should be a UsageError"):
            try:
                accepted = self.space.architecture(**values)
            except UsageError as error:
                assert words in str(error), f"architecture({shown}) is refused without saying {words}: {error}"
            else:
                raise AssertionError(f"architecture({shown}) is accepted: {accepted}")

    def _follow_the_rungs(
        self, base: Architecture, axis: Axis, larger: list[Architecture], smaller: list[Architecture]
    ) -> None:
        rungs = list(self.space.rungs(base, axis))
        down, here, up = (
            [rungs.index(value) for a in each if (value := self.space.value_on(a, axis)) in rungs]
            for each in (smaller[::-1], [base], larger)
        )
        order = down + here + up
        assert order == sorted(set(order)), (
            f"{axis.name} from {base}: larger and smaller do not follow the rungs {rungs}"
        )


def _wrong(axis: Axis) -> list[Any]:
    """Values that are illegal on this axis."""
    if axis.choices:
        return ["no such choice", float("nan"), -12345]
    fractions = [axis.low + 0.5] if axis.integer else []
    return ["wide", None, float("nan"), float("inf"), axis.low - 1, axis.high + 1, *fractions]
