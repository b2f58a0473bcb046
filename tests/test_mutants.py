"""The list of mutants fits the tree; `make mutants` runs them."""

from __future__ import annotations

from dataclasses import replace

from mutate import misfits, mutants


def test_every_mutant_can_be_made():
    listed = mutants()
    assert len(listed) >= 60 and not misfits(listed), "\n".join(misfits(listed))
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in listed}) == len(listed)


def test_a_mutant_that_does_not_fit_is_named():
    one = mutants()[0]
    assert "is there 0 times" in misfits([replace(one, old="no such text")])[0]
    assert "was never closed" in misfits([replace(one, new="for x in (")])[0]
    assert "there is no" in misfits([replace(one, tests=("tests/core/test_pareto.py::test_gone",))])[0]
