"""The script that makes a table: which networks it trains, and what it writes of a run that was stopped early."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace

import pytest
from conftest import ROOT

import expand
from expand.core.study import Data, Recipe
from search_spaces.x3d import X3DSpace
from tests.replay.test_replay import made_table

MAKE = runpy.run_path(str(ROOT / "benchmarks" / "tabular" / "make.py"))


@pytest.mark.parametrize(("name", "networks"), [("x3d", 128), ("c3d", 64), ("mixed_conv", 64)])
def test_a_table_has_distinct_networks_within_its_limit(name, networks) -> None:
    study = MAKE["study_of"](name, None)
    listed = study.strategy.networks
    assert len(set(listed)) == len(listed) == networks
    assert study.seeds == tuple(range(MAKE["PLANS"][name].seeds))
    assert MAKE["study_of"](name, None).strategy == study.strategy  # the same in another process


@pytest.mark.heavy
def test_a_table_of_what_was_trained_so_far(squares, tmp_path) -> None:
    space = X3DSpace(frames=2, stride=2, resolution=16, width=0.2, depth=0.2)
    networks = tuple(space.architecture(frames=count).to_json() for count in (1, 2, 3))
    study = replace(
        MAKE["study_of"]("x3d", None), space=space, strategy=MAKE["Listed"](networks), seeds=(0, 1),
        recipe=Recipe(epochs=2, batch_size=8, views=1), data=Data(cache_side=24, source=str(squares)),
        budget=expand.Budget(trials=5),
    )  # fmt: skip
    expand.run(study, out=tmp_path / "run", workers=0, quiet=True)
    table = MAKE["table_of"]("x3d", tmp_path / "run", space)
    assert [network.to_json() for network in table.networks] == list(networks[:2])
    assert table.curves.shape == (2, 2, 2) and table.clips == 12 and json.loads(table.networks[0].to_json())


def test_parts_of_a_table_are_joined_and_other_trainings_are_not() -> None:
    whole = replace(made_table(), about="these clips, this recipe")
    count = len(whole.networks)
    first, last = (
        replace(whole, networks=whole.networks[part], costs=whole.costs[part], curves=whole.curves[part])
        for part in (slice(0, 40), slice(30, count))
    )
    joined = MAKE["joined"](first, last)
    assert set(joined.networks) == set(whole.networks) and len(joined.networks) == count
    rows = [joined.index[network] for network in whole.networks]
    assert (joined.curves[rows] == whole.curves).all() and [joined.costs[row] for row in rows] == list(whole.costs)
    with pytest.raises(SystemExit, match="another recipe"):
        MAKE["joined"](first, replace(last, about="these clips, another recipe"))
