"""A JPEG without what it tells of its maker: strangers see pictures that others corrected."""

from __future__ import annotations

import re

START, END, SCAN = b"\xff\xd8", 0xD9, 0xDA
MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")  # none of those within a scan
APPLICATION = range(0xE0, 0xF0)
COMMENT = 0xFE
# What a decoder needs to give the same colours: density, colour profile, colour transform.
KEPT = {0xE0: b"JFIF\x00", 0xE2: b"ICC_PROFILE\x00", 0xEE: b"Adobe"}


def bare_jpeg(jpeg: bytes) -> bytes | None:
    """Take camera, place, comments, previews and whatever follows the picture out of a JPEG.

    What is left decodes to the same pixels, bit for bit, though not turned as the metadata said.

    Returns
    -------
    bytes or None
        None where it is not built as the standard says (ITU T.81, annex B).
    """
    if not jpeg.startswith(START):
        return None
    kept, place = [START], len(START)
    while found := MARKER.match(jpeg, place):
        code, after = found[1][0], found.end()
        if code == END:
            return b"".join([*kept, b"\xff\xd9"])
        length = int.from_bytes(jpeg[after : after + 2])
        end = after + length
        if length < 2 or end > len(jpeg):
            return None
        if not _tells(code, jpeg[after + 2 : end]):
            kept.append(b"\xff" + jpeg[after - 1 : end])
        if code == SCAN:
            end, begun = _end_of_scan(jpeg, end), end
            kept.append(jpeg[begun:end])
        place = end
    return None


def _tells(code: int, segment: bytes) -> bool:
    """Say whether a segment is about something else than the pixels."""
    if code in APPLICATION:
        return not (code in KEPT and segment.startswith(KEPT[code]))
    return code == COMMENT


def _end_of_scan(jpeg: bytes, begun: int) -> int:
    found = MARKER.search(jpeg, begun)
    return found.start() if found else len(jpeg)
