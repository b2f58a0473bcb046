"""`python -m expand`: the same as the command `expand`, whose name coreutils has too."""

from expand.cli.app import main

if __name__ == "__main__":
    main()
