"""`expand`: architecture search and stepwise expansion for video networks."""

__version__ = "0.1.0"

from expand import _old_names

_old_names.install()
