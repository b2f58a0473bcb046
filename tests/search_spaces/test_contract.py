"""Every family keeps the contract, and the contract notices when one does not."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from expand.core.clip import Clip
from expand.core.layer_plan import LayerPlan
from expand.core.space import Architecture, Axis, Published, SearchSpace, plain_width, scaled
from expand.core.weight_names import Inheritance, WeightLayout
from expand.testing.space_contract import SpaceContract
from search_spaces.c3d import C3DSpace
from search_spaces.inception import InceptionSpace
from search_spaces.mixed_conv import MixedConvSpace
from search_spaces.resnet3d import ResNet3DSpace
from search_spaces.x3d import X3DSpace

C3D, INCEPTION, MIXED = C3DSpace(), InceptionSpace(), MixedConvSpace()
RESNET, X3D = ResNet3DSpace(), X3DSpace()
TINY = {"width": 0.05, "frames": 4, "resolution": 20}


class TestC3D(SpaceContract):
    space = C3D
    small = C3D.architecture(width=0.02, frames=10, resolution=18)
    samples = (C3D.architecture(convolutions=8, conv1_depth=1, conv5_depth=7, width=0.02, frames=9, resolution=17),)


class TestInception(SpaceContract):
    space = INCEPTION
    small = INCEPTION.architecture(**TINY)
    samples = (INCEPTION.point("top-heavy-S3D-G-4c", **TINY | {"frames": 10, "resolution": 34}),)


class TestMixedConv(SpaceContract):
    space = MIXED
    small = MIXED.architecture(**TINY)
    samples = (
        *(MIXED.point(name, **TINY) for name in ("MC3", "rMC4", "R3D", "R(2+1)D", "r2plus1d_18")),
        MIXED.architecture(conv2="(2+1)D", **TINY),  # no inner width that the rules would disagree on
        *(MIXED.point("R2D", **TINY | {"frames": frames}) for frames in (1, 3)),
    )


class TestResNet3D(SpaceContract):
    space = RESNET
    small = RESNET.point("ResNet-10", conv1_depth=3, **TINY)
    samples = (
        RESNET.architecture(**TINY, conv1_stride=2),
        RESNET.architecture(kind="preact", layers=10, **TINY | {"frames": 1}),
        RESNET.point("ResNet-50", kind="preact", **TINY | {"resolution": 36}),
        RESNET.point("WRN-50", max_pool="no", **TINY),
        RESNET.point("ResNeXt-50", cardinality=8, **TINY | {"resolution": 36}),
    )


class TestX3D(SpaceContract):
    space = X3D
    small = X3DSpace(frames=2, stride=8, resolution=32, width=0.3, depth=0.3).start
    samples = (X3D.architecture(frames=1, resolution=32, width=0.5, depth=0.5, bottleneck=2.25),)


# --- a family that keeps the contract, and one variant for each way not to ---------------------------------------------

AXES = (
    Axis("depth", "depth", "", "kernel", "deeper kernels", choices=("flat", "deep")),
    Axis("width", "width", "", "× 8 channels", "wider", low=0.1, high=4),
    Axis("frames", "frames", "", "frames", "a longer clip", low=1, high=8, integer=True),
)


class Toy(nn.Module):
    def __init__(self, width: int, depth: int, num_classes: int, extra: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, width, (depth, 3, 3), padding=(depth // 2, 1, 1))
        self.norm = nn.BatchNorm3d(width)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.norm(self.conv(x)).relu().mean((2, 3, 4)))


@dataclass(frozen=True)
class ToySpace(SearchSpace):
    note: Any = ""
    name = "toy"
    axes = AXES
    network = Toy

    def start_values(self) -> dict[str, Any]:
        return {"depth": "flat", "width": 1.0, "frames": 2}

    @property
    def points(self) -> Mapping[str, Architecture]:
        return {"Flat": self.start, "Deep": self.architecture(depth="deep", width=2)}

    def constructor(self, architecture: Architecture, num_classes: int) -> tuple[type[nn.Module], dict[str, Any]]:
        depth = 3 if architecture["depth"] == "deep" else 1
        return self.network, {"width": scaled(architecture["width"], 8), "depth": depth, "num_classes": num_classes}

    def inputs(self, architecture: Architecture) -> tuple[Clip, ...]:
        return (Clip(architecture["frames"], 1, 8, 8),)

    def canonical(self, values: dict[str, Any]) -> dict[str, Any]:
        return values | {"width": plain_width(values["width"], {8})}

    def rungs(self, architecture: Architecture, axis: Axis) -> Sequence[Any]:
        return {"width": [n / 8 for n in range(1, 33)], "frames": range(1, 9)}.get(axis.name, axis.choices)


class TestToy(SpaceContract):
    space = ToySpace()


def with_network(network: type[nn.Module]) -> type[ToySpace]:
    return type("Variant", (ToySpace,), {"network": network})


def with_forward(forward: Callable[[Toy, torch.Tensor], torch.Tensor]) -> type[ToySpace]:
    return with_network(type("Variant", (Toy,), {"forward": forward}))


def with_methods(**members: Any) -> type[ToySpace]:
    return type("Variant", (ToySpace,), members)


class Flat(nn.Module):
    """Every frame alone through 2D convolutions, one of them channel-wise, as many networks on frames are."""

    def __init__(self, width: int, depth: int, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.each = nn.Conv2d(width, width, (3, depth), padding=(1, depth // 2), groups=width, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frames = self.norm(self.each(self.conv(x.transpose(1, 2).flatten(0, 1)))).relu().mean((2, 3))
        return self.fc(frames.reshape(x.shape[0], x.shape[2], -1).mean(1))


class FlatSpace(ToySpace):
    network = Flat


class TestFlat(SpaceContract):
    space = FlatSpace()


class Idle(Toy):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.unused = nn.Parameter(torch.zeros(3))


class OneSeed(Toy):
    def __init__(self, **arguments: Any) -> None:
        torch.manual_seed(0)
        super().__init__(**arguments)


class AnySeed(Toy):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        nn.init.constant_(self.fc.bias, random.random())


class CountedDifferently(Toy):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x[:, :, :1] if torch.jit.is_tracing() else x)


class Fails(Toy):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("out of luck")


class NeedsTheEngine(Toy):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        from expand.core.errors import ExpandError

        return super().forward(x) + 0 * len(ExpandError.__name__)


class Careless(Axis):
    def check(self, value: object) -> Any:
        return value


def careless(axis: Axis) -> Axis:
    return Careless(**{name: getattr(axis, name) for name in Axis.__dataclass_fields__})


def plain(self, values):
    return values


def halved(self, values):
    return values | {"width": max(0.1, values["width"] / 2)}


def narrowing(self, architecture, axis):
    """Widths listed from the widest down, so that growing makes them cheaper."""
    return (
        ToySpace.larger(self, architecture, axis)
        if axis.name != "width"
        else ToySpace.smaller(self, architecture, axis)
    )


def widening(self, architecture, axis):
    return (
        ToySpace.smaller(self, architecture, axis)
        if axis.name != "width"
        else ToySpace.larger(self, architecture, axis)
    )


def arguments_with(**more: Any) -> Callable[..., Any]:
    def constructor(self, architecture, num_classes):
        network, arguments = ToySpace.constructor(self, architecture, num_classes)
        return network, arguments | more

    return constructor


def ignoring_depth(self, architecture, num_classes):
    network, arguments = ToySpace.constructor(self, architecture, num_classes)
    return network, arguments | {"depth": 1}


def depth_that_does_nothing(self, architecture, num_classes):
    network, arguments = ToySpace.constructor(self, architecture, num_classes)
    return network, arguments | {"depth": 1, "extra": arguments["depth"]}


def named(*modules: str) -> Callable[..., Any]:
    """One layout that numbers these modules."""
    return lambda self, architecture: [WeightLayout("theirs", {str(n): name for n, name in enumerate(modules)})]


def layers_of(**wrong: Any) -> Callable[..., LayerPlan]:
    """The layers of `Toy`, with something wrong."""

    def layer_plan(self, architecture, num_classes):
        (clip,), (_, said) = self.inputs(architecture), self.constructor(architecture, num_classes)
        depth, width = said["depth"] + wrong.get("deeper", 0), said["width"]
        plan = LayerPlan(clip).stage("stem")
        plan.conv("conv", width, (depth, 3, 3), padding=(depth // 2, 1, 1), bias=not wrong.get("no_bias"))
        if not wrong.get("no_norm"):
            plan.norm("norm")
        if not wrong.get("no_relu"):
            plan.relu()
        return plan.stage("head").mean().linear("fc", num_classes)

    return layer_plan


class ToldSpace(ToySpace):
    layer_plan = layers_of()


class TestToyWithItsLayers(SpaceContract):
    space = ToldSpace()


def other_family(self, architecture, axis):
    return [Architecture("other", architecture.values)]


by_hand = Architecture("toy", (("depth", "flat"), ("width", 1.01), ("frames", 2)))


def printed(point: str, **values: Any) -> Any:
    return property(lambda self: (Published(point, "gmacs", "1.0", "nowhere", values=tuple(values.items())),))


STAYS = "test_growth_gives_other_legal_networks_in_order"
FORWARD, COSTS, EQUAL = (
    "test_forward_is_finite_and_repeatable",
    "test_all_counters_agree",
    "test_equal_networks_are_equal_architectures",
)
KEEPS = "test_the_layers_told_keep_what_autograd_keeps"
CANONICAL, PLAIN = "test_the_start_and_the_named_points_are_canonical", "test_arguments_are_plain_and_build_uses_them"
REFUSED, WRITTEN = "test_wrong_values_are_refused_by_name", "test_architecture_and_space_can_be_written_out"
EXPORT, LEARNS = "test_the_exported_source_stands_alone", "test_every_parameter_learns"
POINTS, VALUES = (
    "test_named_points_answer_with_one_logit_a_class",
    "test_every_value_of_an_axis_is_canonical_or_refused",
)
FALL, PUBLISHED = "test_costs_do_not_fall_along_axes_of_numbers", "test_published_costs_are_of_legal_points"
TRAINS = "test_it_trains_and_validates_as_in_a_search"
LAYOUTS = "test_weight_layouts_name_every_tensor_once"
INHERITS = "test_inheritance_names_modules_of_the_network"

BROKEN = {
    # the network
    "a logit too many": (with_forward(lambda self, x: nn.functional.pad(Toy.forward(self, x), (0, 1))), FORWARD, "not (4, 5)"),
    "a point's logit too many": (with_forward(lambda self, x: Toy.forward(self, x)[:, :-1]), POINTS, "not (1, 5)"),
    "two answers": (with_forward(lambda self, x: (Toy.forward(self, x), x)), FORWARD, "tuple, not logits"),
    "not finite": (with_forward(lambda self, x: Toy.forward(self, x) / 0), FORWARD, "not finite"),
    "not repeatable": (with_forward(lambda self, x: Toy.forward(self, x) + random.random()), FORWARD, "same seed"),
    "mixes clips": (with_forward(lambda self, x: Toy.forward(self, x - x.mean())), FORWARD, "depend on its batch"),
    "every seed the same weights": (with_network(OneSeed), FORWARD, "every seed"),
    "a seed of its own": (with_network(AnySeed), FORWARD, "two initialisations"),
    "forward raises": (with_network(Fails), FORWARD, "out of luck"),
    "forward raises on shapes": (with_network(Fails), POINTS, "out of luck"),
    "an idle parameter": (with_network(Idle), LEARNS, "no gradient reaches unused"),
    "no gradient at all": (with_forward(lambda self, x: 0 * Toy.forward(self, x)), LEARNS, "all gradients are zero"),
    "a gradient that is not finite": (
        with_forward(lambda self, x: Toy.forward(self, x) + (0 * self.conv.weight).sum().abs().sqrt()), LEARNS, "not finite"),
    "only for clips in torch's own layout": (
        with_forward(lambda self, x: Toy.forward(self, x.view(len(x), -1).view(x.shape))), TRAINS, "view size is not compatible"),
    "not finite where it learns": (
        with_forward(lambda self, x: Toy.forward(self, x) / (1 - self.training)), TRAINS, "a training step is not finite"),
    "nothing changes": (with_forward(lambda self, x: Toy.forward(self, x).detach().requires_grad_()), TRAINS, "changes nothing"),
    "an operator nobody counts": (
        with_forward(lambda self, x: Toy.forward(self, torch.fft.rfft(x).real)), COSTS, "no counting rule for aten::fft_rfft"),
    "counters that disagree": (with_network(CountedDifferently), COSTS, "fvcore counts"),
    "layers of a deeper kernel": (with_methods(layer_plan=layers_of(deeper=2)), COSTS, "macs from the family's layers"),
    "layers without a bias": (with_methods(layer_plan=layers_of(no_bias=True)), COSTS, "params from the family's layers"),
    "layers without a norm": (with_methods(layer_plan=layers_of(no_norm=True)), COSTS, "params from the family's layers"),
    "layers without a ReLU": (with_methods(layer_plan=layers_of(no_relu=True)), KEEPS, "layer_plan and the network differ"),
    "layers that raise": (with_methods(layer_plan=lambda self, a, n: 1 / 0), COSTS, "ZeroDivisionError"),
    "a source that needs the engine": (with_network(NeedsTheEngine), EXPORT, "expand.core.errors"),
    "a class without a source": (with_network(type("Made", (Toy,), {})), EXPORT, "source"),
    # what the space says of it
    "an argument that is no plain value": (with_methods(constructor=arguments_with(extra=Path("."))), PLAIN, "extra="),
    "an argument as a list": (with_methods(constructor=arguments_with(extra=[1])), PLAIN, "extra=[1]"),
    "build does otherwise": (with_methods(build=lambda self, a, n: Toy(9, 1, n)), PLAIN, "another network"),
    "constructor raises": (with_methods(constructor=lambda self, a, n: 1 / 0), PLAIN, "ZeroDivisionError"),
    "an axis without effect": (with_methods(constructor=ignoring_depth), EQUAL, "one network, two architectures"),
    "an argument without effect": (with_methods(constructor=depth_that_does_nothing), EQUAL, "compute the same"),
    "widths that are not rounded": (with_methods(canonical=plain, rungs=lambda self, a, x: [1.0, 1.01]), EQUAL, "one network"),
    "canonical values that go on changing": (with_methods(canonical=halved), CANONICAL, "not canonical"),
    "canonical raises": (with_methods(canonical=lambda self, values: values["none"]), VALUES, "KeyError"),
    "a canonical value outside its axis": (
        with_methods(canonical=lambda self, v: v | {"frames": v["frames"] - 1}), VALUES, "not canonical|given back"),
    "a value is lost": (with_methods(canonical=lambda self, v: {"depth": v["depth"]}), CANONICAL, "has the values"),
    "a start that is not legal": (
        with_methods(start_values=lambda self: {"depth": "flat", "width": 9, "frames": 2}), CANONICAL, "width=9"),
    "points that differ in case": (
        with_methods(points=property(lambda self: {"A": self.start, "a": self.start})), CANONICAL, "case only"),
    "a point of another family": (
        with_methods(points=property(lambda self: {"A": Architecture("other", self.start.values)})), CANONICAL, "'other'"),
    "a point by hand": (
        with_methods(points=property(lambda self: {"A": by_hand})),
        CANONICAL, "not canonical"),
    "a value nowhere on its axis": (with_methods(value_on=lambda self, a, axis: -5), VALUES, "allowed are"),
    "axes of one name": (with_methods(axes=(*AXES, AXES[0])), VALUES, "two axes of one name"),
    "an axis that takes anything": (with_methods(axes=tuple(map(careless, AXES))), REFUSED, "is accepted|should be a UsageError"),
    "a refusal without the name": (
        with_methods(axes=(AXES[0], type("Mute", (Careless,), {"check": lambda self, v: Axis("x", "x", "", "", "").check(v)})(
            "width", "width", "", "", ""), AXES[2])), REFUSED, "without saying width"),
    "a published point that is not there": (with_methods(published=printed("Wide")), PUBLISHED, "unknown toy point 'Wide'"),
    "a published value that is not legal": (with_methods(published=printed("Flat", frames=99)), PUBLISHED, "frames=99"),
    # how it grows
    "growth that stays": (with_methods(larger=lambda self, a, axis: [a]), STAYS, "where it stands"),
    "growth that repeats": (with_methods(larger=lambda self, a, axis: 2 * ToySpace.larger(self, a, axis)), STAYS, "twice"),
    "growth that raises": (with_methods(larger=lambda self, a, axis: [][0]), STAYS, "IndexError"),
    "growth into another family": (with_methods(larger=other_family), STAYS, "'other'"),
    "growth that is not canonical": (
        with_methods(larger=lambda self, a, axis: [Architecture("toy", (*a.values[:1], ("width", 2.02), *a.values[2:]))]),
        STAYS, "not canonical"),
    "growth both ways": (with_methods(smaller=ToySpace.larger), STAYS, "both larger and smaller"),
    "choices the wrong way": (with_methods(larger=ToySpace.smaller, smaller=ToySpace.larger), STAYS, "follow the rungs"),
    "published growth that stays": (with_methods(published_growth=lambda self, a, axis: a), STAYS, "stays where it is"),
    "published growth that raises": (with_methods(published_growth=lambda self, a, axis: 1 / 0), STAYS, "ZeroDivisionError"),
    "growth that saves": (with_methods(larger=narrowing, smaller=widening), FALL, "multiply-adds fall along width"),
    # how others name its weights
    "a tensor that a layout has no name for": (
        with_methods(weight_layouts=named("conv", "norm")), LAYOUTS, "has no name for fc"),
    "a tensor that a layout has two names for": (
        with_methods(weight_layouts=named("conv", "norm", "fc", "fc")), LAYOUTS, "has two names for fc"),
    "blocks that the network lacks": (
        with_methods(inheritance=lambda self, a: Inheritance.of_blocks([1], "norm")), INHERITS, "names blocks.0"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_family_that_breaks_a_rule_is_told_which(name: str) -> None:
    space, method, words = BROKEN[name]
    contract = SpaceContract()
    contract.space = space()
    with pytest.raises(AssertionError, match="|".join(map(re.escape, words.split("|")))):
        getattr(contract, method)()


@pytest.mark.parametrize(("note", "words"), [(Path("."), "plain values"), (object(), "plain JSON"), ("", None)])
def test_a_space_whose_fields_are_not_plain_cannot_be_written_out(note: object, words: str | None) -> None:
    contract = SpaceContract()
    contract.space = ToySpace(note)
    if words is None:
        return contract.test_architecture_and_space_can_be_written_out()
    with pytest.raises(AssertionError, match=words):
        contract.test_architecture_and_space_can_be_written_out()


def test_a_space_that_workers_cannot_receive_is_found() -> None:
    contract = SpaceContract()
    contract.space = type("Nowhere", (ToySpace,), {})()  # of no module, as in a notebook
    with pytest.raises(AssertionError, match="pickle"):
        contract.test_architecture_and_space_can_be_written_out()
