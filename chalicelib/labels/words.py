"""Words that every import of labels knows, and how a stranger's words are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Side = Literal["train", "valid"]  # of a dataset
Split = Literal["train", "valid", "test"]
SPLIT_WORDS: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "test": "test",
}


def shown(text: str, most: int = 200) -> str:
    r"""Return a stranger's text fit to print.

    >>> shown("a\x1b[31m.jpg")
    'a\\x1b[31m.jpg'
    """
    printable = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: most + 1])
    return printable if len(printable) <= most else printable[:most] + "…"
