"""Rules about costs: all counters agree, and costs do not fall along an axis of numbers."""

from __future__ import annotations

import dataclasses
import functools

from expand.counting.cost import cost_of, cost_of_network, count_cost
from expand.counting.family import shapes_of
from expand.testing.checks import spread, works
from expand.testing.space_under_test import SpaceUnderTest

MOST_COUNTED = 8  # networks that fvcore counts, which is slow


class CostRules(SpaceUnderTest):
    """Costs, counted by arithmetic, on shapes and by fvcore."""

    def test_costs_do_not_fall_along_axes_of_numbers(self) -> None:
        """Growth and contraction search for a cost by bisection; not on axes of words (kinds of layers)."""
        base = self._small
        for axis in self.space.axes:
            if all(isinstance(choice, int | float) for choice in axis.choices):
                ladder = [*self._moved(base, axis, "smaller")[:2][::-1], base, *self._moved(base, axis, "larger")[:3]]
                costs = [self._macs(architecture) for architecture in ladder]
                shown = ", ".join(
                    f"{a.as_dict().get(axis.parameter, a)}: {c}" for a, c in zip(ladder, costs, strict=True)
                )
                assert costs == sorted(costs), f"multiply-adds fall along {axis.name} around {base}: {shown}"

    def test_all_counters_agree(self) -> None:
        for architecture in spread(self._runnable(), MOST_COUNTED):
            network = self._build(architecture)
            with works(f"counting {architecture}"):
                cost = count_cost(network, self.space.inputs(architecture))
                planned = cost_of(self.space, architecture, self.num_classes)
            parameters = sum(parameter.numel() for parameter in network.parameters())
            assert cost.params == parameters, f"{architecture}: {cost.params} parameters counted, it has {parameters}"
            macs = self._macs(architecture)
            assert cost.macs == macs > 0, f"{architecture}: fvcore counts {cost.macs} multiply-adds, torch {macs}"
            for name in ("macs", "params", "params_published", "activations", "input", "fvcore_flops", "buffer_bytes"):
                ours, reference = getattr(planned, name), getattr(cost, name)
                assert ours == reference, (
                    f"{architecture}: {name} from {planned.counter} are {ours}, fvcore's {reference}"
                )

    def test_the_layers_told_keep_what_autograd_keeps(self) -> None:
        """Which is what memory in training is estimated from; and named points, which may be large, on shapes."""
        for architecture in dict.fromkeys([*spread([self._small, *self.samples], 3), *self._points()[-1:]]):
            with works(f"the cost of {architecture} on shapes"):
                planned = cost_of(self.space, architecture, self.num_classes)
                shapes = shapes_of(self.space.inputs(architecture))
                build = functools.partial(self.space.build, architecture, self.num_classes)
                counted, _ = cost_of_network(build, shapes)
            wrong = [
                f"{field.name} {getattr(planned, field.name)}, on shapes {getattr(counted, field.name)}"
                for field in dataclasses.fields(planned)
                if field.name != "counter" and getattr(planned, field.name) != getattr(counted, field.name)
            ]
            assert not wrong, f"{architecture}: layer_plan and the network differ: {'; '.join(wrong)}"
