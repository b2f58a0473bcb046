"""What the contracts share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def works(what: str, *, but: type[Exception] | None = None) -> Iterator[None]:
    """An exception in the code under test is a broken rule, and says where; `but` passes through."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        if but and isinstance(error, but):
            raise
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error


def spread(items: list[T], most: int) -> list[T]:
    """So many of them, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]
