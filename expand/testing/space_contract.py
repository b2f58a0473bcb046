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

import builtins
import contextlib
import dataclasses
import functools
import json
import pickle
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from torch import nn

from expand.config.serialize import describe
from expand.core.clip import Clip
from expand.core.errors import UsageError
from expand.core.space import Architecture, Axis, SearchSpace
from expand.core.study import Recipe
from expand.counting.cost import cost_of, cost_of_network, count_cost, count_macs, random_clips, shapes_of
from expand.source.slicer import ENGINE, standalone_source
from expand.training.loop import set_up, training_step
from expand.training.multi_view import validate
from expand.weights.matching import on_shapes

if TYPE_CHECKING:
    from expand.data.cache.clip_cache import ClipCache

TOLERANCE = 1e-5  # of a logit
MOST_POINTS = 12  # named points that are built and grown; of more points, evenly spaced ones
MOST_COUNTED = 8  # networks that fvcore counts, which is slow
T = TypeVar("T")


class SpaceContract:
    """One test method per rule. Subclasses set `space`; all else is optional."""

    space: SearchSpace
    small: Architecture | None = None
    samples: Sequence[Architecture] = ()
    num_classes = 5

    def setup_method(self) -> None:
        self._kernels = contextlib.ExitStack()
        self._kernels.enter_context(plain_kernels())

    def teardown_method(self) -> None:
        self._kernels.close()

    # --- values ---

    def test_the_start_and_the_named_points_are_canonical(self) -> None:
        with _works("the points of the space"):
            points = self.space.points
        for architecture in (*self._bases(), *points.values()):
            self._canonical(architecture)
        lower = [name.lower() for name in points]
        assert len(set(lower)) == len(lower), f"names of points that differ in case only: {', '.join(points)}"
        for name, architecture in points.items():
            for typed in (name, name.lower(), name.upper()):
                with _works(f"point({typed!r})"):
                    assert self.space.point(typed) == architecture, f"point({typed!r}) is another network than {name}"

    def test_every_value_of_an_axis_is_canonical_or_refused(self) -> None:
        names = [axis.name for axis in self.space.axes]
        assert len(set(names)) == len(names), f"two axes of one name: {', '.join(names)}"
        for base in self._bases():
            for axis in self.space.axes:
                for value in axis.choices or (axis.low, axis.high):
                    changed = base.as_dict() | {axis.parameter: value}
                    with _works(f"{axis.parameter}={value} at {base}"), contextlib.suppress(UsageError):
                        self._canonical(self.space.architecture(**changed))
                with _works(f"value_on({base}, {axis.name})"):
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
            with _works(f"{architecture} as JSON"):
                assert Architecture.from_json(architecture.to_json()) == architecture, f"{architecture} is lost in JSON"
        with _works("the space as plain JSON (its fields must be plain values)"):
            json.dumps(describe(self.space), allow_nan=False)
        with _works("the space pickled, as workers receive it"):
            assert pickle.loads(pickle.dumps(self.space)) == self.space, "the pickled space is another space"

    def test_published_costs_are_of_legal_points(self) -> None:
        for published in self.space.published:
            with _works(f"the published {published.quantity} of {published.point}"):
                self._canonical(self.space.point(published.point, **dict(published.values)))

    # --- growth ---

    def test_growth_gives_other_legal_networks_in_order(self) -> None:
        for base in (*self._bases(), *self._points()):
            for axis in self.space.axes:
                larger, smaller = (self._moved(base, axis, direction) for direction in ("larger", "smaller"))
                both = set(larger) & set(smaller)
                assert not both, f"{axis.name} from {base}: both larger and smaller: {next(iter(both))}"
                if axis.choices:
                    self._follow_the_rungs(base, axis, larger, smaller)
                with _works(f"published_growth({base}, {axis.name})"):
                    grown = self.space.published_growth(base, axis)
                assert grown != base, f"published_growth({base}, {axis.name}) stays where it is"
                if grown is not None:
                    self._canonical(grown)

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

    # --- the network ---

    def test_arguments_are_plain_and_build_uses_them(self) -> None:
        for architecture in self._runnable():
            with _works(f"constructor({architecture})"):
                network, arguments = self.space.constructor(architecture, self.num_classes)
            for name, value in arguments.items():
                assert _is_plain(value), (
                    f"{network.__name__}({name}={value!r}): not a plain number, text or tuple of such"
                )
            with _works(f"{network.__name__} with its arguments read from JSON, as an export does"), _seeded(0):
                again = network(**json.loads(json.dumps(arguments, allow_nan=False)))
            built = self._build(architecture)
            assert type(built) is network and _same(built.state_dict(), again.state_dict()), (
                f"build({architecture}) makes another network than {network.__name__}(**constructor's arguments)"
            )

    def test_weight_layouts_name_every_tensor_once(self) -> None:
        """Otherwise published weights would be skipped silently."""
        for architecture in (*self._runnable(), *self._points()):
            with _works(f"weight_layouts({architecture})"):
                layouts = list(self.space.weight_layouts(architecture))
            if not layouts:
                continue
            network = on_shapes(self.space, architecture, self.num_classes)
            wanted = {name.rpartition(".")[0] for name in network.state_dict()}
            for layout in layouts:
                named = [ours for ours in layout.modules.values() if ours in wanted]
                missing = sorted(wanted - set(named))
                assert not missing, f"{layout.name}'s layout of {architecture} has no name for {', '.join(missing[:3])}"
                twice = sorted({ours for ours in named if named.count(ours) > 1})
                assert not twice, f"{layout.name}'s layout of {architecture} has two names for {', '.join(twice[:3])}"

    def test_equal_networks_are_equal_architectures(self) -> None:
        """Otherwise the same network would be trained twice."""
        seen: dict[str, Architecture] = {}
        for architecture in dict.fromkeys([*self._runnable(), *self._bases(), *self.space.points.values()]):
            with _works(f"constructor and inputs of {architecture}"):
                network, arguments = self.space.constructor(architecture, self.num_classes)
                key = f"{network.__qualname__} {json.dumps(arguments, default=repr)} {self._reads(architecture)}"
            other = seen.setdefault(key, architecture)
            assert other == architecture, (
                f"one network, two architectures; canonical() should make them one: {other} and {architecture}"
            )
        alike: dict[str, list[Architecture]] = {}
        for architecture in dict.fromkeys([*self._runnable(), *self._other_choices()]):
            shapes = {name: tuple(value.shape) for name, value in self._on_shapes(architecture).state_dict().items()}
            alike.setdefault(f"{shapes} {self._reads(architecture)}", []).append(architecture)
        for first, *others in alike.values():
            for other in others:
                assert not self._compute_the_same(first, other), (
                    f"two architectures compute the same; canonical() should make them one: {first} and {other}"
                )

    def test_named_points_answer_with_one_logit_a_class(self) -> None:
        for architecture in self._points():
            network = self._on_shapes(architecture).eval()
            with _works(f"forward of {architecture} on shapes"), torch.no_grad():
                logits = network(*random_clips(self.space.inputs(architecture), device="meta"))
            self._one_logit_a_class(architecture, logits, 1)

    def test_forward_is_finite_and_repeatable(self) -> None:
        for architecture in self._runnable():
            network, again, other = (self._build(architecture, seed) for seed in (0, 0, 1))
            assert _same(network.state_dict(), again.state_dict()), (
                f"{architecture}: one seed gives two initialisations"
            )
            assert not _same(network.state_dict(), other.state_dict()), (
                f"{architecture}: every seed gives the same weights"
            )
            with _seeded(1):
                clips = random_clips(self.space.inputs(architecture), batch=4)
            for mode in ("eval", "train"):
                network.train(mode == "train")
                logits, repeated = (self._logits(network, clips, architecture) for _ in range(2))
                self._one_logit_a_class(architecture, logits, 4)
                assert logits.isfinite().all(), f"{architecture}: logits in {mode} mode are not finite"
                assert _close(logits, repeated), f"{architecture}: the same seed gives other logits in {mode} mode"
                if mode == "eval":
                    alone = self._logits(network, tuple(clip[:1] for clip in clips), architecture)
                    assert _close(alone, logits[:1]), (
                        f"{architecture}: in eval mode a clip's logits depend on its batch"
                    )

    def test_every_parameter_learns(self) -> None:
        for architecture in self._runnable():
            network = self._build(architecture).train()
            with _works(f"a training step of {architecture}"), _seeded(1):
                logits = network(*random_clips(self.space.inputs(architecture), batch=4))
                nn.functional.cross_entropy(logits, torch.arange(4) % self.num_classes).backward()
            trained = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
            idle = [name for name, gradient in trained.items() if gradient is None]
            assert not idle, f"{architecture}: no gradient reaches {', '.join(idle)}"
            broken = [
                name for name, gradient in trained.items() if gradient is not None and not gradient.isfinite().all()
            ]
            assert not broken, f"{architecture}: the gradient of {', '.join(broken)} is not finite"
            moved = any(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in trained.values())
            assert moved, f"{architecture}: all gradients are zero"

    def test_it_trains_and_validates_as_in_a_search(self) -> None:
        """One training step and one validation with the engine's loop, kernels and memory layout on a CPU."""
        cpu, recipe = torch.device("cpu"), Recipe(batch_size=4, clip_gradient_norm=1.0)
        for architecture in dict.fromkeys([self._small, *_spread([*self.samples], 2)]):
            network, clips = self._build(architecture), self.space.inputs(architecture)
            with _works(f"training {architecture}"), _seeded(1), torch.backends.mkldnn.flags(enabled=True):
                optimiser, scaler = set_up(network, recipe, cpu)
                before = {name: value.detach().clone() for name, value in network.named_parameters()}
                batch, labels = random_clips(clips, batch=4), torch.arange(4) % self.num_classes
                loss = training_step(network.train(), optimiser, scaler, batch, labels, recipe, cpu)
                assert loss.isfinite(), f"{architecture}: the loss of a training step is not finite"
                assert not _same(before, dict(network.named_parameters())), (
                    f"{architecture}: a training step changes nothing"
                )
                videos = cast("ClipCache", _Noise(self.num_classes, clips))
                metrics = validate(network, videos, clips, recipe, views=1, device=cpu)
            assert metrics.clips == 2, f"{architecture}: {metrics.clips} of 2 videos were validated"

    def test_all_counters_agree(self) -> None:
        for architecture in _spread(self._runnable(), MOST_COUNTED):
            network = self._build(architecture)
            with _works(f"counting {architecture}"):
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
        """The plan's saved bytes, from which training memory is estimated, equal those counted on shapes."""
        for architecture in dict.fromkeys([*_spread([self._small, *self.samples], 3), *self._points()[-1:]]):
            with _works(f"the cost of {architecture} on shapes"):
                planned, shapes = (
                    cost_of(self.space, architecture, self.num_classes),
                    shapes_of(self.space.inputs(architecture)),
                )
                build = functools.partial(self.space.build, architecture, self.num_classes)
                counted, _ = cost_of_network(build, shapes)
            wrong = [
                f"{field.name} {getattr(planned, field.name)}, on shapes {getattr(counted, field.name)}"
                for field in dataclasses.fields(planned)
                if field.name != "counter" and getattr(planned, field.name) != getattr(counted, field.name)
            ]
            assert not wrong, f"{architecture}: layer_plan and the network differ: {'; '.join(wrong)}"

    def test_the_exported_source_stands_alone(self) -> None:
        for architecture in dict.fromkeys([self._small, *self.samples]):
            network, arguments = self.space.constructor(architecture, self.num_classes)
            built = self._build(architecture).eval()
            with _works(f"the source of {network.__name__} without the engine"):
                names: dict[str, Any] = {
                    "__name__": "exported",
                    "__builtins__": vars(builtins) | {"__import__": _guarded},
                }
                exec(compile(standalone_source(network), "<exported>", "exec"), names)
                exported = names[network.__name__](**json.loads(json.dumps(arguments))).eval()
                exported.load_state_dict(built.state_dict())
                with _seeded(1):
                    clips = random_clips(self.space.inputs(architecture), batch=2)
                expected, got = (self._logits(each, clips, architecture) for each in (built, exported))
            difference = float((expected - got).abs().max())
            assert difference <= TOLERANCE, f"{architecture}: the exported source's logits differ by {difference:.2g}"

    # --- the architectures under test ---

    @property
    def _small(self) -> Architecture:
        return self.small or self.space.start

    def _bases(self) -> list[Architecture]:
        with _works("the start of the space"):
            return list(dict.fromkeys([self.space.start, self._small, *self.samples]))

    def _points(self) -> list[Architecture]:
        with _works("the points of the space"):
            return _spread(list(dict.fromkeys(self.space.points.values())), MOST_POINTS)

    def _runnable(self) -> list[Architecture]:
        """The small architecture, its nearest neighbour along each axis (a larger one if possible), and the samples."""
        neighbours = [
            architecture
            for axis in self.space.axes
            for architecture in (self._moved(self._small, axis, "larger") or self._moved(self._small, axis, "smaller"))[
                :1
            ]
        ]
        return list(dict.fromkeys([self._small, *neighbours, *self.samples]))

    def _other_choices(self) -> list[Architecture]:
        """The samples with another choice on one axis."""
        found = []
        for sample in self.samples:
            for axis in self.space.axes:
                for choice in axis.choices:
                    with _works(f"{axis.parameter}={choice} at {sample}"), contextlib.suppress(UsageError):
                        found.append(self.space.architecture(**sample.as_dict() | {axis.parameter: choice}))
        return found

    # --- steps of the rules ---

    def _canonical(self, architecture: Architecture) -> None:
        space = self.space
        assert architecture.family == space.name, f"{architecture}: of '{architecture.family}', not of '{space.name}'"
        names, expected = list(architecture.as_dict()), list(space.start_values())
        assert names == expected, f"{architecture} has the values {names}, the start has {expected}"
        with _works(f"{architecture} given back to the space"):
            again = space.architecture(**architecture.as_dict())
        assert again == architecture, f"not canonical: {architecture} becomes {again} ({architecture.changes(again)})"

    def _refused(self, values: dict[str, Any], words: str) -> None:
        shown = ", ".join(f"{name}={value!r}" for name, value in values.items())
        with _works(f"architecture({shown}) should be a UsageError"):
            try:
                accepted = self.space.architecture(**values)
            except UsageError as error:
                assert words in str(error), f"architecture({shown}) is refused without saying {words}: {error}"
            else:
                raise AssertionError(f"architecture({shown}) is accepted: {accepted}")

    def _moved(self, base: Architecture, axis: Axis, direction: str) -> list[Architecture]:
        with _works(f"{direction}({base}, {axis.name})"):
            found = list(getattr(self.space, direction)(base, axis))
        assert base not in found, f"{direction} along {axis.name} offers where it stands: {base}"
        assert len(set(found)) == len(found), f"{direction} along {axis.name} from {base} offers a network twice"
        for architecture in (*found[:3], *found[-1:]):
            self._canonical(architecture)
        return found

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

    def _build(self, architecture: Architecture, seed: int = 0) -> nn.Module:
        with _works(f"build({architecture})"), _seeded(seed):
            return self.space.build(architecture, self.num_classes)

    def _on_shapes(self, architecture: Architecture) -> nn.Module:
        with _works(f"build({architecture}) on shapes"), torch.device("meta"):
            return self.space.build(architecture, self.num_classes)

    def _macs(self, architecture: Architecture) -> int:
        with _works(f"counting {architecture}"):
            clips = self.space.inputs(architecture)
            return count_macs(lambda: self.space.build(architecture, self.num_classes), clips)

    def _logits(self, network: nn.Module, clips: Sequence[torch.Tensor], architecture: Architecture) -> torch.Tensor:
        with _works(f"forward of {architecture}"), _seeded(2), torch.no_grad():
            return network(*clips)

    def _one_logit_a_class(self, architecture: Architecture, logits: torch.Tensor, batch: int) -> None:
        wanted = (batch, self.num_classes)
        assert isinstance(logits, torch.Tensor), (
            f"{architecture}: forward answers a {type(logits).__name__}, not logits"
        )
        assert tuple(logits.shape) == wanted, f"{architecture}: forward answers {tuple(logits.shape)}, not {wanted}"

    def _reads(self, architecture: Architecture) -> str:
        """The network's clips as text; the stride of a single frame is ignored."""
        clips = self.space.inputs(architecture)
        return str([(c.channels, c.frames, c.stride if c.frames > 1 else 0, c.height, c.width) for c in clips])

    def _compute_the_same(self, first: Architecture, other: Architecture) -> bool:
        """Compares two networks with the same weights, clips and seed, in training mode, which also shows dropout."""
        networks = [self._build(each).train() for each in (first, other)]
        with _seeded(1):
            clips = random_clips(self.space.inputs(first), batch=4)
            state = {
                name: value + 0.1 * torch.randn_like(value).abs() if value.is_floating_point() else value
                for name, value in networks[0].state_dict().items()
            }
        for network in networks:
            network.load_state_dict(state)
        one, two = (self._logits(network, clips, first) for network in networks)
        return _close(one, two)


class _Noise:
    """Two random videos for validation, with the interface of `ClipCache`."""

    def __init__(self, classes: int, clips: Sequence[Clip]) -> None:
        self.classes, self.labels = tuple(map(str, range(classes))), [0, 1]
        self.size = (max(clip.height for clip in clips), max(clip.width for clip in clips), 3)

    def __len__(self) -> int:
        return len(self.labels)

    def length(self, index: int) -> int:
        return 2

    def picked(self, index: int, indices: Sequence[int]) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 256, (len(indices), *self.size), dtype=np.uint8)


@contextlib.contextmanager
def plain_kernels() -> Iterator[None]:
    """One thread and no oneDNN, which compiles a kernel for every new shape: faster for small networks of many shapes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings(action="ignore"), torch.backends.mkldnn.flags(enabled=False):
            yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def _works(what: str) -> Iterator[None]:
    """Turns an exception in the family's code into a failed rule that says where it was raised."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _guarded(name: str, *arguments: Any) -> Any:
    if name.split(".")[0] in ENGINE:
        raise ImportError(f"the exported source imports {name}")
    return builtins.__import__(name, *arguments)


def _spread(items: list[T], most: int) -> list[T]:
    """At most `most` items, evenly spaced, including the first and the last."""
    if len(items) <= most:
        return items
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]


def _wrong(axis: Axis) -> list[Any]:
    """Values that are illegal on this axis."""
    if axis.choices:
        return ["no such choice", float("nan"), -12345]
    fractions = [axis.low + 0.5] if axis.integer else []
    return ["wide", None, float("nan"), float("inf"), axis.low - 1, axis.high + 1, *fractions]


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


def _close(one: torch.Tensor, two: torch.Tensor) -> bool:
    return torch.allclose(one, two, rtol=1e-4, atol=TOLERANCE)
