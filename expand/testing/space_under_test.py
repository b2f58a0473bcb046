"""The architectures at which the rules of `space_contract.py` are checked, and the steps that several rules share."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from expand.core.space import Architecture, Axis, SearchSpace
from expand.counting.cost import count_macs
from expand.testing.checks import spread, works
from expand.weights.matching import on_shapes

TOLERANCE = 1e-5  # of a logit
MOST_POINTS = 12  # named points that are built and grown; of more points, evenly spaced ones


class SpaceUnderTest:
    """A space with the architectures to try: the start, `small`, its neighbours, `samples`, and the named points."""

    space: SearchSpace
    small: Architecture | None = None
    samples: Sequence[Architecture] = ()
    num_classes = 5

    def setup_method(self) -> None:
        self._kernels = contextlib.ExitStack()
        self._kernels.enter_context(plain_kernels())

    def teardown_method(self) -> None:
        self._kernels.close()

    # --- the architectures ---

    @property
    def _small(self) -> Architecture:
        return self.small or self.space.start

    def _bases(self) -> list[Architecture]:
        with works("the start of the space"):
            return list(dict.fromkeys([self.space.start, self._small, *self.samples]))

    def _points(self) -> list[Architecture]:
        with works("the points of the space"):
            return spread(list(dict.fromkeys(self.space.points.values())), MOST_POINTS)

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

    # --- steps of the rules ---

    def _canonical(self, architecture: Architecture) -> None:
        space = self.space
        assert architecture.family == space.name, f"{architecture}: of '{architecture.family}', not of '{space.name}'"
        names, expected = list(architecture.as_dict()), list(space.start_values())
        assert names == expected, f"{architecture} has the values {names}, the start has {expected}"
        with works(f"{architecture} given back to the space"):
            again = space.architecture(**architecture.as_dict())
        assert again == architecture, f"not canonical: {architecture} becomes {again} ({architecture.changes(again)})"

    def _moved(self, base: Architecture, axis: Axis, direction: str) -> list[Architecture]:
        with works(f"{direction}({base}, {axis.name})"):
            found = list(getattr(self.space, direction)(base, axis))
        assert base not in found, f"{direction} along {axis.name} offers where it stands: {base}"
        assert len(set(found)) == len(found), f"{direction} along {axis.name} from {base} offers a network twice"
        for architecture in (*found[:3], *found[-1:]):
            self._canonical(architecture)
        return found

    def _build(self, architecture: Architecture, seed: int = 0) -> nn.Module:
        with works(f"build({architecture})"), seeded(seed):
            return self.space.build(architecture, self.num_classes)

    def _on_shapes(self, architecture: Architecture) -> nn.Module:
        with works(f"build({architecture}) on shapes"):
            return on_shapes(self.space, architecture, self.num_classes)

    def _macs(self, architecture: Architecture) -> int:
        with works(f"counting {architecture}"):
            clips = self.space.inputs(architecture)
            return count_macs(lambda: self.space.build(architecture, self.num_classes), clips)

    def _logits(self, network: nn.Module, clips: Sequence[torch.Tensor], architecture: Architecture) -> torch.Tensor:
        with works(f"forward of {architecture}"), seeded(2), torch.no_grad():
            return network(*clips)


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
def seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


def close(one: torch.Tensor, two: torch.Tensor) -> bool:
    return torch.allclose(one, two, rtol=1e-4, atol=TOLERANCE)
