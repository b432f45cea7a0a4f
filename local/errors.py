"""What can go wrong on somebody's own machine, said in one line."""

from __future__ import annotations


class LocalError(Exception):
    """The stack cannot start; the message says why and what to do."""
