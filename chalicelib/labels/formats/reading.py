"""What the readers of all formats are told, what they report, and how they read single values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.errors import InvalidLabel
from chalicelib.labels.words import SPLIT_WORDS, Split, shown

SPLIT_IN_PATH = re.compile(rf"(?<![a-z])({'|'.join(SPLIT_WORDS)})(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Limits:
    """How much is read.

    Attributes
    ----------
    documents, images, classes : int
        In all.
    document_bytes : int
        Of one document; a parser holds it as objects, which take about ten times as much.
    boxes : int
        Of one image.
    side : int
        Of an image, in pixels.
    name : int
        Characters of a name.
    faults : int
        How many are listed, and how many notes; the rest is counted.
    """

    documents: int = 100_000
    images: int = 100_000
    classes: int = 10_000
    document_bytes: int = 64 * 2**20
    boxes: int = 5_000
    side: int = 100_000
    name: int = 1_000
    faults: int = 500


@dataclass(frozen=True)
class Reading:
    """What a format does not say.

    Attributes
    ----------
    class_names : tuple[str, ...], optional
        The classes to expect; any other is a fault. Where not given, those of the documents. The
        CSV of a label store has ids alone, and cannot be read without.
    sizes : Mapping[str, tuple[int, int]]
        Width and height of the images by name. YOLO cannot be read without; where a document says
        otherwise, that is a fault (its boxes are of another picture, or of one not upright).
    prefix : str
        Taken off the front of the images' names: manifests and CSVs.
    job : str, optional
        Which job of a manifest to read; else the newest of each line.
    limits : Limits
    """

    class_names: tuple[str, ...] | None = None
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    prefix: str = ""
    job: str | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Attributes
    ----------
    where : str
        The image, or where it has no name the document and line. Printable.
    detail : str
        What is wrong with it.
    """

    where: str
    detail: str


@dataclass(frozen=True)
class Report:
    """How reading went.

    Attributes
    ----------
    faults : tuple[Fault, ...]
        Why images were left out, up to a limit.
    fault_count : int
        All of them.
    notes : tuple[Fault, ...]
        What was changed or passed over in images that were taken, up to a limit.
    note_count : int
        All of them.
    """

    faults: tuple[Fault, ...]
    fault_count: int
    notes: tuple[Fault, ...]
    note_count: int

    def check(self) -> None:
        """Refuse labels with a fault: for whoever wants all or nothing.

        Raises
        ------
        InvalidLabel
            With the first fault, and how many there are.
        """
        if self.fault_count:
            first, others = self.faults[0], self.fault_count - 1
            more = f" (and {others} more)" if others else ""
            raise InvalidLabel(f"{first.where}: {first.detail}{more}")


def number(what: str, value: object) -> float:
    """Return a finite number.

    Raises
    ------
    ValueError
        It is something else; ``True`` is no number, nor is text.
    """
    try:
        found = float(value) if type(value) in (int, float) else math.nan  # type: ignore[arg-type]
    except OverflowError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{what} must be a number, got {told(value)}")
    return found


def split_in(path: str) -> Split | None:
    """Return the split that a path names, None if it names none; the last one counts.

    >>> split_in("annotations/instances_val2017.json")
    'valid'
    >>> split_in("contest.json")
    """
    words = SPLIT_IN_PATH.findall(path)
    return SPLIT_WORDS[words[-1].lower()] if words else None


def told(value: object, most: int = 60) -> str:
    """Return how a value that is wrong is named: what is no single value only by its type.

    Lists and the like are not looked into: a few bytes of YAML can hold any number of them.

    >>> told("seven"), told([1, 2])
    ("'seven'", 'list')
    """
    if isinstance(value, str):
        return shown(repr(value[: most + 1]), most)
    if value is None or isinstance(value, bool | int | float):
        return shown(repr(value), most)
    return type(value).__name__
