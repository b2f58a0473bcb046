"""`expand`: architecture search and stepwise expansion for video networks."""

__version__ = "0.1.0"
