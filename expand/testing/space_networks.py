"""Rules about networks: built from plain arguments, one logit per class, all of it learns, exported as it is."""

from __future__ import annotations

import builtins
import contextlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import nn

from expand.core.clip import Clip
from expand.core.errors import UsageError
from expand.core.space import Architecture
from expand.core.study import Recipe
from expand.counting.cost import random_clips
from expand.source.slicer import ENGINE, standalone_source
from expand.testing.checks import spread, works
from expand.testing.space_under_test import TOLERANCE, SpaceUnderTest, close, same, seeded
from expand.training.loop import set_up, training_step
from expand.training.multi_view import validate

if TYPE_CHECKING:
    from expand.data.cache.clip_cache import ClipCache


class NetworkRules(SpaceUnderTest):
    """The network of each architecture, alone and in a training step."""

    def test_arguments_are_plain_and_build_uses_them(self) -> None:
        for architecture in self._runnable():
            with works(f"constructor({architecture})"):
                network, arguments = self.space.constructor(architecture, self.num_classes)
            for name, value in arguments.items():
                assert _is_plain(value), (
                    f"{network.__name__}({name}={value!r}): not a plain number, text or tuple of such"
                )
            with works(f"{network.__name__} with its arguments read from JSON, as an export does"), seeded(0):
                again = network(**json.loads(json.dumps(arguments, allow_nan=False)))
            built = self._build(architecture)
            assert type(built) is network and same(built.state_dict(), again.state_dict()), (
                f"build({architecture}) makes another network than {network.__name__}(**constructor's arguments)"
            )

    def test_weight_layouts_name_every_tensor_once(self) -> None:
        """Otherwise published weights would be skipped silently."""
        for architecture in (*self._runnable(), *self._points()):
            with works(f"weight_layouts({architecture})"):
                layouts = list(self.space.weight_layouts(architecture))
            if not layouts:
                continue
            wanted = {name.rpartition(".")[0] for name in self._on_shapes(architecture).state_dict()}
            for layout in layouts:
                named = [ours for ours in layout.modules.values() if ours in wanted]
                missing = sorted(wanted - set(named))
                assert not missing, f"{layout.name}'s layout of {architecture} has no name for {', '.join(missing[:3])}"
                twice = sorted({ours for ours in named if named.count(ours) > 1})
                assert not twice, f"{layout.name}'s layout of {architecture} has two names for {', '.join(twice[:3])}"

    def test_inheritance_names_modules_of_the_network(self) -> None:
        """Otherwise a larger network would start from the weights of other blocks."""
        for architecture in self._runnable():
            with works(f"inheritance({architecture})"):
                found = self.space.inheritance(architecture)
                blocks = [block for stage in found.stages for block in stage]
            named = [*blocks, *(f"{block}.{found.last_norm}" for block in blocks), *found.flattened]
            missing = sorted(set(named) - {name for name, _ in self._on_shapes(architecture).named_modules()})
            assert not missing, f"inheritance({architecture}) names {', '.join(missing[:3])}, which the network lacks"

    def test_equal_networks_are_equal_architectures(self) -> None:
        """Otherwise the same network would be trained twice."""
        seen: dict[str, Architecture] = {}
        for architecture in dict.fromkeys([*self._runnable(), *self._bases(), *self.space.points.values()]):
            with works(f"constructor and inputs of {architecture}"):
                network, arguments = self.space.constructor(architecture, self.num_classes)
                recipe = self.space.recipe_of(architecture)
                key = (
                    f"{network.__qualname__} {json.dumps(arguments, default=repr)} {self._reads(architecture)} {recipe}"
                )
            other = seen.setdefault(key, architecture)
            assert other == architecture, (
                f"one network, two architectures; canonical() should make them one: {other} and {architecture}"
            )
        alike: dict[str, list[Architecture]] = {}
        for architecture in dict.fromkeys([*self._runnable(), *self._other_choices()]):
            shapes = {name: tuple(value.shape) for name, value in self._on_shapes(architecture).state_dict().items()}
            key = f"{shapes} {self._reads(architecture)} {self.space.recipe_of(architecture)}"
            alike.setdefault(key, []).append(architecture)
        for first, *others in alike.values():
            for other in others:
                assert not self._compute_the_same(first, other), (
                    f"two architectures compute the same; canonical() should make them one: {first} and {other}"
                )

    def test_named_points_answer_with_one_logit_a_class(self) -> None:
        for architecture in self._points():
            network = self._on_shapes(architecture).eval()
            with works(f"forward of {architecture} on shapes"), torch.no_grad():
                logits = network(*random_clips(self.space.inputs(architecture), device="meta"))
            self._one_logit_a_class(architecture, logits, 1)

    def test_forward_is_finite_and_repeatable(self) -> None:
        for architecture in self._runnable():
            network, again, other = (self._build(architecture, seed) for seed in (0, 0, 1))
            assert same(network.state_dict(), again.state_dict()), f"{architecture}: one seed gives two initialisations"
            assert not same(network.state_dict(), other.state_dict()), (
                f"{architecture}: every seed gives the same weights"
            )
            with seeded(1):
                clips = random_clips(self.space.inputs(architecture), batch=4)
            for mode in ("eval", "train"):
                network.train(mode == "train")
                logits, repeated = (self._logits(network, clips, architecture) for _ in range(2))
                self._one_logit_a_class(architecture, logits, 4)
                assert logits.isfinite().all(), f"{architecture}: logits in {mode} mode are not finite"
                assert close(logits, repeated), f"{architecture}: the same seed gives other logits in {mode} mode"
                if mode == "eval":
                    alone = self._logits(network, tuple(clip[:1] for clip in clips), architecture)
                    assert close(alone, logits[:1]), f"{architecture}: in eval mode a clip's logits depend on its batch"

    def test_every_parameter_learns(self) -> None:
        for architecture in self._runnable():
            network = self._build(architecture).train()
            with works(f"a training step of {architecture}"), seeded(1):
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
        for architecture in dict.fromkeys([self._small, *spread([*self.samples], 2)]):
            network, clips = self._build(architecture), self.space.inputs(architecture)
            with works(f"training {architecture}"), seeded(1), torch.backends.mkldnn.flags(enabled=True):
                optimiser, scaler = set_up(network, recipe, cpu)
                before = {name: value.detach().clone() for name, value in network.named_parameters()}
                batch, labels = random_clips(clips, batch=4), torch.arange(4) % self.num_classes
                loss = training_step(network.train(), optimiser, scaler, batch, labels, recipe, cpu)
                assert loss.isfinite(), f"{architecture}: the loss of a training step is not finite"
                assert not same(before, dict(network.named_parameters())), (
                    f"{architecture}: a training step changes nothing"
                )
                videos = cast("ClipCache", _Noise(self.num_classes, clips))
                metrics = validate(network, videos, clips, recipe, views=1, device=cpu)
            assert metrics.clips == 2, f"{architecture}: {metrics.clips} of 2 videos were validated"

    def test_the_exported_source_stands_alone(self) -> None:
        for architecture in dict.fromkeys([self._small, *self.samples]):
            network, arguments = self.space.constructor(architecture, self.num_classes)
            built = self._build(architecture).eval()
            with works(f"the source of {network.__name__} without the engine"):
                names: dict[str, Any] = {
                    "__name__": "exported",
                    "__builtins__": vars(builtins) | {"__import__": _guarded},
                }
                exec(compile(standalone_source(network), "<exported>", "exec"), names)
                exported = names[network.__name__](**json.loads(json.dumps(arguments))).eval()
                exported.load_state_dict(built.state_dict())
                with seeded(1):
                    clips = random_clips(self.space.inputs(architecture), batch=2)
                expected, got = (self._logits(each, clips, architecture) for each in (built, exported))
            difference = float((expected - got).abs().max())
            assert difference <= TOLERANCE, f"{architecture}: the exported source's logits differ by {difference:.2g}"

    def _other_choices(self) -> list[Architecture]:
        """The samples with another choice on one axis."""
        found = []
        for sample in self.samples:
            for axis in self.space.axes:
                for choice in axis.choices:
                    with works(f"{axis.parameter}={choice} at {sample}"), contextlib.suppress(UsageError):
                        found.append(self.space.architecture(**sample.as_dict() | {axis.parameter: choice}))
        return found

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
        with seeded(1):
            clips = random_clips(self.space.inputs(first), batch=4)
            state = {
                name: value + 0.1 * torch.randn_like(value).abs() if value.is_floating_point() else value
                for name, value in networks[0].state_dict().items()
            }
        for network in networks:
            network.load_state_dict(state)
        one, two = (self._logits(network, clips, first) for network in networks)
        return close(one, two)


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


def _guarded(name: str, *arguments: Any) -> Any:
    if name.split(".")[0] in ENGINE:
        raise ImportError(f"the exported source imports {name}")
    return builtins.__import__(name, *arguments)


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)
