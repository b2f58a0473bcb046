"""Search for video networks from Python, as a notebook would:

    import expand

    study = expand.load_study("x3d_stepwise")
    run = expand.run(study, out="runs/mine", workers=2)  # again with the same study: resumes
    run.front()  # a pandas table
    network = run.network(run.best("top1", under={"gmacs": 0.01}))
    expand.predict(network, "clip.mp4")

Importing this package is light: torch, optuna, ray and pandas are loaded by what needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from expand import _old_names

if TYPE_CHECKING:
    from expand.api import Run as Run
    from expand.api import cost as cost
    from expand.api import open_run as open_run
    from expand.api import predict as predict
    from expand.api import run as run
    from expand.config.loading import load_space as load_space
    from expand.config.loading import load_study as load_study
    from expand.core.errors import ExpandError as ExpandError
    from expand.core.errors import UsageError as UsageError
    from expand.core.joint import JointSpace as JointSpace
    from expand.core.joint import RecipeAxis as RecipeAxis
    from expand.core.joint import joint as joint
    from expand.core.space import Architecture as Architecture
    from expand.core.space import Axis as Axis
    from expand.core.space import SearchSpace as SearchSpace
    from expand.core.study import Budget as Budget
    from expand.core.study import Data as Data
    from expand.core.study import Objective as Objective
    from expand.core.study import Recipe as Recipe
    from expand.core.study import Study as Study
    from expand.strategies.evolved import Evolved as Evolved
    from expand.strategies.fixed import Fixed as Fixed
    from expand.strategies.grid import Grid as Grid
    from expand.strategies.guided import Guided as Guided
    from expand.strategies.halving import Halving as Halving
    from expand.strategies.optuna_sampler import OptunaSampler as OptunaSampler
    from expand.strategies.sampled import Sampled as Sampled
    from expand.strategies.stepwise import Stepwise as Stepwise

__version__ = "0.1.0"

_PLACES = {
    "api": ("Run", "cost", "open_run", "predict", "run"),
    "config.loading": ("load_space", "load_study"),
    "core.errors": ("ExpandError", "UsageError"),
    "core.joint": ("JointSpace", "RecipeAxis", "joint"),
    "core.space": ("Architecture", "Axis", "SearchSpace"),
    "core.study": ("Budget", "Data", "Objective", "Recipe", "Study"),
    "strategies.evolved": ("Evolved",),
    "strategies.fixed": ("Fixed",),
    "strategies.grid": ("Grid",),
    "strategies.guided": ("Guided",),
    "strategies.halving": ("Halving",),
    "strategies.optuna_sampler": ("OptunaSampler",),
    "strategies.sampled": ("Sampled",),
    "strategies.stepwise": ("Stepwise",),
}
_MODULE_OF = {name: module for module, names in _PLACES.items() for name in names}
__all__ = ["__version__", *sorted(_MODULE_OF)]

_old_names.install()


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'expand' has no attribute '{name}'")
    member = getattr(importlib.import_module(f"expand.{_MODULE_OF[name]}"), name)
    globals()[name] = member
    return member


def __dir__() -> list[str]:
    return __all__
