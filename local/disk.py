"""Says on the console when the disk is full, and when there is room again."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

FULL_BELOW_BYTES = 32 * 1024 * 1024  # PostgreSQL writes its log in files of 16 MB


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class DiskSpace:
    """The free space of the data folder's disk.

    Parameters
    ----------
    folder : Path
    free : callable, optional
        Returns the free bytes of a folder's disk.
    say : callable, optional
        Takes one line for the console.
    """

    def __init__(
        self,
        folder: Path,
        free: Callable[[Path], int] = _free,
        say: Callable[[str], None] = _print,
    ) -> None:
        self._folder = folder
        self._free = free
        self._say = say
        self._is_full = False

    def is_full(self) -> bool:
        """Tell whether there is too little space at this moment."""
        return self._free(self._folder) < FULL_BELOW_BYTES

    def look(self) -> None:
        """Look once, and say what has changed."""
        free = self._free(self._folder)
        is_full = free < FULL_BELOW_BYTES
        if is_full and not self._is_full:
            self._say(
                f"sightloop: the disk of {self._folder} is full ({free // 1024} KiB are free): "
                "what cannot be kept is refused with 503; what was acknowledged stays. Make room."
            )
        elif self._is_full and not is_full:
            self._say(f"sightloop: the disk of {self._folder} has room again")
        self._is_full = is_full
