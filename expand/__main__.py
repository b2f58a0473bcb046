"""`python -m expand`: the same as the command `expand`, whose name coreutils has too."""

import sys

from expand.core import signals


def main() -> None:
    """The command line. Signals are handled before its libraries are imported, which takes half a second."""
    with signals.handled():
        try:
            from expand.cli.app import main as command

            command()
        except (Exception, signals.Interrupted):
            if (interrupted := signals.noted()) is None:
                raise
            print(f"expand: {interrupted}", file=sys.stderr)
            signals.leave(interrupted.exit_code)


if __name__ == "__main__":
    main()
