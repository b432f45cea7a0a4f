"""Choosing the media type of an answer by the ``Accept`` header (RFC 9110)."""

from __future__ import annotations

import re

from chalicelib.errors import NotAcceptable

QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def choose(accept: str | None, offered: tuple[str, ...]) -> str:
    """Return the media type that the caller wants most of those offered.

    Parameters
    ----------
    accept : str or None
        The header; none is taken as ``*/*``.
    offered : tuple[str, ...]
        Ours, the default first.

    Raises
    ------
    NotAcceptable
        None of them is wanted.

    Examples
    --------
    >>> choose("image/*, application/json;q=0.5", ("application/json", "image/jpeg"))
    'image/jpeg'
    >>> choose(None, ("application/json", "image/jpeg"))
    'application/json'
    """
    if not accept or not accept.strip():
        return offered[0]
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    wanted = max(offered, key=lambda media: _quality(media, ranges))
    if _quality(wanted, ranges) <= 0:
        raise NotAcceptable(f"cannot answer as {accept!r}: accept one of {', '.join(offered)}")
    return wanted


def _range(part: str) -> tuple[str, float]:
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
    return media, float(quality) if QUALITY.fullmatch(quality) else 0.0


def _quality(media: str, ranges: list[tuple[str, float]]) -> float:
    """Return the quality that the most specific matching range gives a media type."""
    for candidate in (media, media.split("/", maxsplit=1)[0] + "/*", "*/*"):
        qualities = [quality for wanted, quality in ranges if wanted == candidate]
        if qualities:
            return max(qualities)
    return 0.0
