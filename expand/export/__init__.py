"""Exports a trained network: its source, its folder, and the check that it needs only torch."""
