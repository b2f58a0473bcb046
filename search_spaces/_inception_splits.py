"""The eleven groups of layers of an Inception network for video, and the splits between 2D groups and others."""

from __future__ import annotations

MIXED = ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")
GROUPS = ("conv1a", "conv2c", *(f"mixed{name}" for name in MIXED))
KINDS = ("2D", "3D", "separable")
SHORT = {"conv1a": "1a", "conv2c": "2c"} | {f"mixed{name}": name for name in MIXED}
FROM = tuple(SHORT.values())[1:]  # where a split can lie: below each group but the lowest


def top_heavy(kind: str, first: str) -> tuple[str, ...]:
    """The kinds of the eleven groups: 2D below group `first`, `kind` from it on; "all" and "none" are of one kind."""
    places = {"all": 0, "none": len(GROUPS)} | {name: place for place, name in enumerate(FROM, start=1)}
    return tuple("2D" if place < places[first] else kind for place in range(len(GROUPS)))


def bottom_heavy(kind: str, first: str) -> tuple[str, ...]:
    """The kinds of the eleven groups: `kind` below group `first`, 2D from it on."""
    opposite = {"all": "none", "none": "all"}
    return tuple(kind if each == "2D" else "2D" for each in top_heavy(kind, opposite.get(first, first)))


# An axis that sets all eleven kinds, in growing order: name -> value -> kinds.
SPLITS = {
    f"{place}_{kind}".lower(): {first: split(kind, first) for first in ("none", *order, "all")}
    for kind in ("3D", "separable")
    for place, split, order in (("top_heavy", top_heavy, FROM[::-1]), ("bottom_heavy", bottom_heavy, FROM))
}
