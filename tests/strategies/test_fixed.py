"""One network alone, once a seed."""

from __future__ import annotations

from typing import ClassVar

from expand.core.study import Study
from expand.strategies.fixed import Fixed
from expand.testing.simulated_search import simulate
from expand.testing.strategy_contract import StrategyContract
from search_spaces.c3d import C3DSpace
from search_spaces.x3d import X3DSpace

C3D, X3D = C3DSpace(), X3DSpace()


class TestFixed(StrategyContract):
    study = Study("test", X3D, Fixed(X3D.point("S").to_json(), "X3D-S"), seeds=(0, 3))
    refused: ClassVar[dict[str, Study]] = {
        "unknown x3d parameter 'convolutions'": Study("test", X3D, Fixed(C3D.point("C3D").to_json(), "C3D")),
    }


def test_it_trains_the_network_once_a_seed() -> None:
    trials = simulate(TestFixed.study)
    assert [(t.architecture, t.suggestion.seed, t.label) for t in trials] == [
        (X3D.point("S"), seed, f"X3D-S seed {seed}") for seed in (0, 3)
    ]
