"""A family of your own, searched from Python: a small 3D network whose depth and width can grow.

    python examples/own_family.py my_videos runs/own

A family is an `nn.Module` and a `SearchSpace` that says its axes, what it reads, and how one of its points is built. Costs are
counted from the network itself; `docs/adding_a_family.md` shows how to list its layers, which is faster, and how to test it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

import expand
from expand.core.clip import Clip


class SmallNetwork(nn.Module):
    """`depth` blocks of a 3 x 3 x 3 convolution with `width` channels, then the mean over time and space."""

    def __init__(self, depth: int, width: int, classes: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for block in range(depth):
            convolution = nn.Conv3d(width if block else 3, width, 3, stride=(1, 2, 2), padding=1, bias=False)
            blocks += [convolution, nn.BatchNorm3d(width), nn.ReLU()]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(width, classes)

    def forward(self, clip: Tensor) -> Tensor:  # (B, 3, T, H, W) -> (B, classes)
        return self.head(self.blocks(clip).mean((2, 3, 4)))


@dataclass(frozen=True)
class SmallSpace(expand.SearchSpace):
    """Depth, width, and the frames that the network reads."""

    name = "small"
    axes = (
        expand.Axis("depth", "depth", "d", "blocks", "more blocks", choices=(1, 2, 3)),
        expand.Axis("width", "width", "w", "channels", "more channels", choices=(4, 8, 16)),
        expand.Axis("frames", "frames", "t", "frames", "a longer clip", choices=(2, 8)),
    )
    num_classes = 10

    @property
    def points(self) -> dict[str, expand.Architecture]:
        return {}  # networks that have a name, such as published ones

    def start_values(self) -> dict[str, Any]:
        return {"depth": 1, "width": 4, "frames": 2}

    def constructor(
        self, architecture: expand.Architecture, num_classes: int
    ) -> tuple[type[nn.Module], dict[str, Any]]:
        values = architecture.as_dict()
        return SmallNetwork, {"depth": values["depth"], "width": values["width"], "classes": num_classes}

    def inputs(self, architecture: expand.Architecture) -> tuple[Clip, ...]:
        return (Clip(frames=int(architecture["frames"]), stride=1, height=16, width=16),)


def study(videos: str | None = None) -> expand.Study:
    """Every combination of depths and clip lengths."""
    return expand.Study(
        name="small",
        space=SmallSpace(),
        strategy=expand.Grid(axes=("depth", "frames")),
        recipe=expand.Recipe(epochs=4, batch_size=8, learning_rate=0.05, views=1),
        data=expand.Data(source=videos, cache_side=24),
    )


def main(videos: str, out: str) -> None:
    run = expand.run(study(videos), out=out, workers=0)
    print(run.front()[["depth", "frames", "gmacs", "top1"]].to_string(index=False))
    best = run.best("top1")
    print("best:", best.architecture, "exported to", run.export(f"{out}/network", best, force=True))


if __name__ == "__main__":
    main(*sys.argv[1:3])
