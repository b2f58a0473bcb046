"""A training step of demo-sized X3D networks on one thread: plain torch against ours, in one run.

    python benchmarks/training_step.py [--threads 1] [--batch 16]

"contiguous" is torch as it comes, "channels_last" adds the layout, "ours" adds the channel-wise gradient of
expand/training/kernels/depthwise.py.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from torch.nn import functional

from expand.training.kernels.replace import speed_up
from search_spaces.x3d import X3DSpace

SPACE = X3DSpace(stride=10, resolution=48, width=0.5, longest_clip=32)
NETWORKS = {
    "start": {}, "4x7": {"frames": 4, "stride": 7}, "4x7, bottleneck 2.35": {"frames": 4, "stride": 7, "bottleneck": 2.35},
    "XS": {"frames": 4, "stride": 12, "resolution": 160, "width": 1, "bottleneck": 2.25, "depth": 2.2},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures: dict[str, dict[str, float]] = {}
    for name, values in NETWORKS.items():
        figures[name] = step_times(values, options.batch if name != "XS" else 4)
        print(name, figures[name])
    ratios = {name: round(times["contiguous"] / times["ours"], 2) for name, times in figures.items()}
    print(
        json.dumps(
            {"benchmark": "training_step", "unit": "ms a clip", "figures": figures, "contiguous_over_ours": ratios}
        )
    )


def step_times(values: dict, batch: int, repeats: int = 7) -> dict[str, float]:
    """Median milliseconds a clip of forward, backward and clearing gradients; variants take turns."""
    point = SPACE.architecture(**values)
    (clip,) = SPACE.inputs(point)
    variants = {}
    for name in ("contiguous", "channels_last", "ours"):
        layout = torch.contiguous_format if name == "contiguous" else torch.channels_last_3d
        torch.manual_seed(0)
        network = SPACE.build(point, 10).to(memory_format=layout)
        if name == "ours":
            speed_up(network)
        clips = torch.randn(batch, 3, clip.frames, clip.height, clip.width).to(memory_format=layout)
        variants[name] = (network, clips)
    labels = torch.randint(0, 10, (batch,))
    times: dict[str, list[float]] = {name: [] for name in variants}
    for repeat in range(repeats + 1):
        for name, (network, clips) in variants.items():
            began = time.perf_counter()
            functional.cross_entropy(network(clips), labels).backward()
            network.zero_grad(set_to_none=True)
            if repeat:
                times[name].append(time.perf_counter() - began)
    return {name: round(sorted(seconds)[repeats // 2] / batch * 1000, 3) for name, seconds in times.items()}


if __name__ == "__main__":
    main()
