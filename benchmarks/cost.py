"""How fast costs are counted: distinct random X3D networks by their layers, and by fvcore on a forward pass.

    python benchmarks/cost.py [--networks 10000] [--traced 6]

The aims are 10 s for 10,000 networks and 5 ms for one. fvcore counts some of the same networks in the same process; both
must give equal multiply-adds, parameters and activations. Drawing the networks is not part of the counted time.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time

from expand.core.space import Architecture
from expand.counting.cost import cost_of, count_cost
from search_spaces.x3d import X3DSpace

SPACE, CLASSES = X3DSpace(), 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=10_000)
    parser.add_argument("--traced", type=int, default=6, help="of them counted by fvcore too, from XS to XL in size")
    options = parser.parse_args()
    drawn = draw(options.networks)
    times = []
    for point in drawn:
        began = time.perf_counter()
        cost_of(SPACE, point, CLASSES)
        times.append(time.perf_counter() - began)
    print(f"{len(drawn):,} networks in {sum(times):.2f} s; one: median {statistics.median(times) * 1000:.2f} ms, slowest "
          f"{max(times) * 1000:.2f} ms")  # fmt: skip
    sizes = sorted((point for point in drawn if 0.3e9 < macs(point) < 40e9), key=macs)
    chosen = [sizes[round(place * (len(sizes) - 1) / (options.traced - 1))] for place in range(options.traced)]
    traced, counted = [], []
    for point in chosen:
        began = time.perf_counter()
        reference = count_cost(SPACE.build(point, CLASSES), SPACE.inputs(point))
        traced.append(time.perf_counter() - began)
        began = time.perf_counter()
        cost = cost_of.__wrapped__(SPACE, point, CLASSES)
        counted.append(time.perf_counter() - began)
        same = all(getattr(cost, name) == getattr(reference, name) for name in ("macs", "params", "activations"))
        print(f"{point}: {cost.gmacs:.2f} GMACs, fvcore {traced[-1]:.2f} s, layers {counted[-1] * 1000:.2f} ms, "
              f"{'equal' if same else 'DIFFERENT'}")  # fmt: skip
        assert same
    ratio = statistics.median(slow / quick for slow, quick in zip(traced, counted, strict=True))
    print(json.dumps({
        "benchmark": "cost", "networks": len(drawn), "seconds": round(sum(times), 2),
        "median_ms": round(statistics.median(times) * 1000, 3), "slowest_ms": round(max(times) * 1000, 2),
        "fvcore_seconds": [round(seconds, 2) for seconds in traced], "fvcore_over_layers": round(ratio),
    }))  # fmt: skip


def macs(point: Architecture) -> int:
    return cost_of(SPACE, point, CLASSES).macs


def draw(count: int) -> list[Architecture]:
    source, found = random.Random(0), dict[Architecture, None]()
    while len(found) < count:
        found[SPACE.architecture(
            frames=source.randint(1, 32), resolution=source.randrange(64, 361, 4), width=source.uniform(0.5, 2),
            bottleneck=source.uniform(1, 4), depth=source.uniform(0.5, 6),
        )] = None  # fmt: skip
    return list(found)


if __name__ == "__main__":
    main()
