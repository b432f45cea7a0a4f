"""What somebody wants done with a picture, read out of the words they sent with it.

Words are taken in any case and with any spaces; a command may begin with a slash and name the bot,
as Telegram's clients write it in groups: ``/Blur@sightloop_bot 8``.

    >>> understand("blur 8", bot="sightloop_bot")
    Blur(level=8)
    >>> understand("rotate anti-clockwise")
    Rotate(clockwise=270)
    >>> understand("rotate 45").usage
    'rotate [clockwise|anti-clockwise] [90|180|270]'
    >>> understand("lovely weather") is None
    True
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

from chalicelib.bot.filters import Direction, Turn

LARGEST_LEVEL = 255
TURNS: dict[str, Turn] = {"90": 90, "180": 180, "270": 270}
CLOCKWISE, ANTI_CLOCKWISE = "clockwise", ("anti-clockwise", "anticlockwise", "counterclockwise")


@dataclass(frozen=True)
class Predict:
    """Find what is on the picture, by a model that need not be named."""

    model: str | None = None


@dataclass(frozen=True)
class Count:
    """Find how many there are of each class, or of one."""

    class_name: str | None = None


@dataclass(frozen=True)
class Blur:
    """The mean over boxes of level × level pixels."""

    level: int = 16


@dataclass(frozen=True)
class Contour:
    """Edges."""


@dataclass(frozen=True)
class Rotate:
    """Turn by so many degrees clockwise."""

    clockwise: Turn = 90


@dataclass(frozen=True)
class SaltAndPepper:
    """White and black pixels by chance."""

    proportion: float = 0.05


@dataclass(frozen=True)
class Segment:
    """White where it is bright, black elsewhere."""


@dataclass(frozen=True)
class Concat:
    """Photos of an album in one.

    Attributes
    ----------
    direction : "horizontal" or "vertical"
    first_at_start : bool
        Whether the first is on the left, or above.
    note : str
        What was made of words that disagree; empty where they agree.
    """

    direction: Direction = "horizontal"
    first_at_start: bool = True
    note: str = ""


@dataclass(frozen=True)
class Misunderstood:
    """A command whose parameters cannot be.

    Attributes
    ----------
    fault : str
        What is wrong, in words.
    usage : str
        How it is written.
    """

    fault: str
    usage: str


Filter = Blur | Contour | Rotate | SaltAndPepper | Segment | Concat
Wish = Predict | Count | Filter | Misunderstood

# How each command is written; `/help` shows these, and every example of it is tried in the tests.
USAGE = {
    "predict": "predict [model]",
    "count": "count [class]",
    "blur": f"blur [level, 1 to {LARGEST_LEVEL}]",
    "contour": "contour",
    "rotate": "rotate [clockwise|anti-clockwise] [90|180|270]",
    "salt and pepper": "salt and pepper [proportion, 0 to 1]",
    "segment": "segment",
    "concat": "concat [horizontal|vertical] "
    "[right-to-left|left-to-right|top-to-bottom|bottom-to-top]",
}
# Which side of the first photo meets which side of the next: so where the first is.
SIDES: dict[str, tuple[Direction, bool]] = {
    "right-to-left": ("horizontal", True),
    "left-to-right": ("horizontal", False),
    "bottom-to-top": ("vertical", True),
    "top-to-bottom": ("vertical", False),
}


def understand(text: str, bot: str = "") -> Wish | None:
    """Read a caption.

    Parameters
    ----------
    text : str
    bot : str
        The bot's own user name; a command that names another bot is not for us.

    Returns
    -------
    Wish or None
        ``Misunderstood`` where the command is known and its parameters are not; None where it is no
        command.
    """
    words = plain_words(text, bot)
    for length in (3, 1):  # `salt and pepper` is the only name of several words
        reader = _READERS.get(" ".join(words[:length]))
        if reader:
            return reader(words[length:])
    return None


def plain_words(text: str, bot: str = "") -> list[str]:
    """Split words, lower case, without slash and bot; none where another bot is meant.

    >>> plain_words("/Blur@sightloop_bot 8", "sightloop_bot"), plain_words("/blur@another 8", "us")
    (['blur', '8'], [])
    """
    plain = re.sub(r"[\u2010-\u2015]", "-", text).casefold()  # phones make dashes of hyphens
    plain = re.sub(rf"(^|\s)@{re.escape(bot.casefold())}(?=\s|$)", " ", plain) if bot else plain
    words = re.sub(r"^\s*salt\s*&\s*pepper", "salt and pepper", plain).split()
    if words and words[0].startswith("/"):
        name, _, meant = words[0][1:].partition("@")
        if meant and meant != bot.casefold():
            return []
        return name.replace("_", " ").split() + words[1:]
    return words


def _predict(words: list[str]) -> Wish:
    if len(words) > 1:
        return Misunderstood(f"“{' '.join(words)}” is not the name of one model", USAGE["predict"])
    return Predict(words[0] if words else None)


def _count(words: list[str]) -> Wish:
    return Count(" ".join(words) or None)


def _blur(words: list[str]) -> Wish:
    if not words:
        return Blur()
    level = int(words[0]) if re.fullmatch(r"[0-9]{1,9}", words[0]) else 0
    if len(words) > 1 or not 1 <= level <= LARGEST_LEVEL:
        return Misunderstood(f"“{' '.join(words)}” is no level", USAGE["blur"])
    return Blur(level)


def _rotate(words: list[str]) -> Wish:
    ways = [word for word in words if word == CLOCKWISE or word in ANTI_CLOCKWISE]
    degrees = [word.removesuffix("°") for word in words if word not in ways] or ["90"]
    turn = TURNS.get(degrees[0])
    if turn is None or len(degrees) > 1 or len(ways) > 1:
        return Misunderstood(f"“{' '.join(words)}” is no turn", USAGE["rotate"])
    against = bool(ways) and ways[0] in ANTI_CLOCKWISE
    return Rotate(TURNS[str(360 - turn)] if against else turn)


def _salt_and_pepper(words: list[str]) -> Wish:
    if not words:
        return SaltAndPepper()
    proportion = _proportion(re.sub(r" (?=%$)", "", " ".join(words)).replace(",", "."))
    if proportion is None:
        return Misunderstood(f"“{' '.join(words)}” is no proportion", USAGE["salt and pepper"])
    return SaltAndPepper(proportion)


def _proportion(text: str) -> float | None:
    """Read a share of 0 to 1, or in percent."""
    found = re.fullmatch(r"([0-9]{0,9}\.?[0-9]{1,9})(%?)", text)
    share = float(found[1]) / (100 if found[2] else 1) if found else math.nan
    return share if 0 <= share <= 1 else None


def _concat(words: list[str]) -> Wish:
    directions = [word for word in words if word in get_args(Direction)]
    sides = [word for word in words if word in SIDES]
    if len(directions) + len(sides) < len(words) or len(directions) > 1 or len(sides) > 1:
        return Misunderstood(f"“{' '.join(words)}” is no way to join photos", USAGE["concat"])
    if not sides:
        return Concat("vertical" if directions == ["vertical"] else "horizontal")
    direction, first_at_start = SIDES[sides[0]]
    note = ""
    if directions and directions[0] != direction:
        note = f"{sides[0]} is {direction}, so I joined them that way, not {directions[0]}."
    return Concat(direction, first_at_start, note)


def _plain(wish: Filter, name: str) -> Callable[[list[str]], Wish]:
    """Return a reader of a command that has no parameters."""

    def read(words: list[str]) -> Wish:
        said = " ".join(words)
        return Misunderstood(f"“{said}” is too much", USAGE[name]) if words else wish

    return read


_READERS: dict[str, Callable[[list[str]], Wish]] = {
    "predict": _predict,
    "count": _count,
    "blur": _blur,
    "contour": _plain(Contour(), "contour"),
    "rotate": _rotate,
    "salt and pepper": _salt_and_pepper,
    "segment": _plain(Segment(), "segment"),
    "concat": _concat,
}
