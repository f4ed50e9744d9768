"""Verified reasoning datasets, one per teacher over the same queries, and which teacher to distil from."""

__version__ = "0.1.0"
