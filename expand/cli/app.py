"""The entry point of the command line. torch, optuna, ray and the like are imported by the commands that need them."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from typing import Annotated, Any

import typer

from expand.cli import about, bench, cost, data, export, grow, plan, report, run, scores, test, tune  # noqa: F401  (each registers its commands)
from expand.cli.shared_options import MEANS, app, data_app
from expand.core import signals

app.add_typer(data_app, name="data", rich_help_panel=MEANS)


def main() -> None:
    """Runs the command line; errors become one line on stderr and an exit code (2 usage, 1 failure)."""
    debug = "--debug" in sys.argv or bool(os.environ.get("EXPAND_DEBUG"))
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    for stream in (sys.stdout, sys.stderr):  # the terminal may not be able to show a file's name
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with signals.handled():
        try:
            app()
        except Exception as error:
            if debug:
                traceback.print_exc()
            signals.leave(_explained(error))
        except signals.Interrupted as interrupted:
            print(f"expand: {interrupted}", file=sys.stderr)
            signals.leave(interrupted.exit_code)


def _explained(error: Exception) -> int:
    """Prints the error as one line; returns the exit code."""
    from expand.core.errors import ExpandError
    from expand.core.files import LINES, escaped

    if (interrupted := signals.noted()) is not None:  # some libraries replace exceptions raised during their import
        print(f"expand: {interrupted}", file=sys.stderr)
        return interrupted.exit_code
    if isinstance(error, ExpandError):
        print(f"expand: {escaped(str(error), keep=LINES)}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if isinstance(error, OSError):
        place = f"{escaped(str(error.filename)[:200])}: " if error.filename else ""
        print(f"expand: {place}{error.strerror or error}", file=sys.stderr)
        return 2 if error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR) else 1
    line = escaped((str(error) or "no message").splitlines()[0])
    print(
        f"expand: {type(error).__name__}: {line} (internal error; please report it, --debug shows where)",
        file=sys.stderr,
    )
    return 1


def _version(value: bool) -> None:
    if value:
        from expand import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    _: Any = version
