"""From a name on the command line to a frozen study, and from a study to plain JSON."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from expand.core.errors import UsageError, unknown
from expand.core.files import not_a_file
from expand.core.space import SearchSpace
from expand.core.study import Study
from expand.core.time_limit import Alarm

SCALES = ("demo", "paper")
CODE_SECONDS = 60.0  # for a user's file to be imported, and for its function to return
T = TypeVar("T")


def names_in(package: str) -> list[str]:
    """The studies or search spaces of one of our own packages: its modules, each a file."""
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return sorted(module.name for module in modules if not module.ispkg and not module.name.startswith("_"))


def load_study(reference: str, scale: str = "demo") -> Study:
    """The study of a bare name (one of ours), a dotted name or a file, at a scale.

    Raises:
        UsageError: there is none, or it returns something else.
    """
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES)
    make = _member(reference, "studies", "study")
    with _users_code(reference, "study"):
        study = make(scale) if inspect.signature(make).parameters else make()
    if not isinstance(study, Study):
        raise UsageError(f"{reference}: study() returned {type(study).__name__}, not an expand.study.Study")
    return study


def load_space(reference: str) -> SearchSpace:
    """The search space of a bare name (one of ours), a dotted name or a file: what its `space()` returns."""
    make = _member(reference, "search_spaces", "space")
    with _users_code(reference, "search space"):
        space = make()
    if not isinstance(space, SearchSpace):
        raise UsageError(f"{reference}: space() returned {type(space).__name__}, not an expand.space.SearchSpace")
    return space


def load_factory(reference: str) -> Any:
    """What `MODULE:NAME` or `FILE.py:NAME` names, to be called for a network. Modules are looked for in this folder too.

    Raises:
        UsageError: there is no such module or name, or nothing to call.
    """
    place, _, name = reference.rpartition(":")
    if not place or not name:
        raise UsageError(f"'{reference}': write it as MODULE:FACTORY or FILE.py:FACTORY")
    is_file = place.endswith(".py") or "/" in place
    module = _load_file(Path(place), "network") if is_file else _import(place, "network")
    if not hasattr(module, name):
        raise unknown(f"factory in {place}", name, _made_here(module))
    member = getattr(module, name)
    if not callable(member):
        raise UsageError(f"{reference} is a {type(member).__name__}, not a function that builds a network")
    return member


def _made_here(module: ModuleType) -> list[str]:
    """What a module defines itself that can be called."""
    return [name for name, each in vars(module).items() if callable(each) and each.__module__ == module.__name__]


def _member(reference: str, package: str, function: str) -> Any:
    module = load_module(reference, package)
    member = getattr(module, function, None)
    if not callable(member):
        raise UsageError(f"{reference} has no function {function}()")
    return member


def load_module(reference: str, package: str) -> ModuleType:
    kind = {"studies": "study", "search_spaces": "search space"}[package]
    if reference.endswith(".py") or "/" in reference:
        return _load_file(Path(reference), kind)
    if "." not in reference:
        ours = names_in(package)
        if reference not in ours:
            raise unknown(kind, reference, ours)
        return importlib.import_module(f"{package}.{reference}")
    return _import(reference, kind)


def _import(reference: str, kind: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        with _users_code(reference, kind):
            return importlib.import_module(reference)
    except UsageError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and cause.name and f"{reference}.".startswith(f"{cause.name}."):
            raise UsageError(f"unknown {kind} '{reference}': no module {cause.name}") from None
        raise


def _load_file(path: Path, kind: str) -> ModuleType:
    try:
        path = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"unknown {kind} {path}: {getattr(error, 'strerror', None) or error}") from None
    if reason := not_a_file(path):
        raise UsageError(f"unknown {kind} {path}: {reason}")
    if path.suffix != ".py":
        raise UsageError(f"unknown {kind}: {path} is not a Python file")
    if str(path.parent) not in sys.path:  # so that it can import its neighbours
        sys.path.insert(0, str(path.parent))
    name = path.stem.replace(".", "_")
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    if loaded is not None or (importlib.util.find_spec(name) is not None and not _is(name, path)):
        name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _users_code(str(path), kind):
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


class _Late(Exception):
    """Code of a user's file does not return."""


@contextlib.contextmanager
def _users_code(reference: str, kind: str) -> Iterator[None]:
    """What a user's own file raises is shown with its file and line, and is not called an internal error. It has `CODE_SECONDS`.

    Raises:
        UsageError: whatever was raised.
    """
    try:
        with Alarm(CODE_SECONDS, _Late):
            yield
    except (UsageError, KeyboardInterrupt):
        raise
    except SyntaxError as error:
        raise UsageError(f"{error.filename or reference} is not Python: {error.msg} (line {error.lineno})") from error
    except BaseException as error:
        signalled = isinstance(error, SystemExit) and isinstance(error.code, int) and error.code > 128
        if signalled or (type(error).__module__.startswith("expand.") and not isinstance(error, Exception)):
            raise  # what ends this process at a signal
        if isinstance(error, _Late):
            what = f"it does not return within {CODE_SECONDS:g} s; a {kind} file only says what there is"
        elif isinstance(error, SystemExit):
            what = f"it ends the program (sys.exit({error.code!r})); a {kind} file only says what there is"
        else:
            what = f"{type(error).__name__}: {(str(error) or 'no message').splitlines()[0]}"
        raise UsageError(f"{_line_in(error, reference)}: {what}") from error


def _line_in(error: BaseException, reference: str) -> str:
    """ "FILE line N" of the user's code that an exception came from: in the file itself, else in the last one that is not ours
    or Python's."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == str(Path(reference).absolute())]
    other = [
        f for f in frames if not f.filename.startswith(("<", str(Path(__file__).parent), os.path.dirname(os.__file__)))
    ]
    chosen = own or other
    return f"{chosen[-1].filename} line {chosen[-1].lineno}" if chosen else reference


def _is(name: str, path: Path) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin == str(path)
