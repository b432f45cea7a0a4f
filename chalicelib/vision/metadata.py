"""Image files without metadata: what is left of a file is what its pixels need.

Decoders get such files only. So comments, text, colour profiles, previews and second pictures are
neither kept with a picture nor cost anything: a text chunk can unpack to gigabytes, and EXIF of
10 MB can hold 65,535 entries that each point at all of it. Of EXIF only the orientation is read.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from chalicelib.errors import AnimatedImage, InvalidImage, TruncatedImage

MOST_PARTS = 20_000  # segments or chunks; 50 MiB of PNG in chunks of 8 KiB have 6,400
MOST_SCANS = 100  # of a progressive JPEG; encoders write about 10
ORIENTATION, SHORT = 0x0112, 3
EXIF = b"Exif\x00\x00"

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
# The excluded ones occur within a scan. Without a repetition of \xff, of which any number may come
# before a marker, the search takes linear time, and skips to the next \xff quickly.
MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
FILL_BYTES = re.compile(rb"\xff{2,}")
END, SCAN, APP0, APP1, APP14 = 0xD9, 0xDA, 0xE0, 0xE1, 0xEE
WITHOUT_LENGTH = frozenset({0x01, 0xD8})
IGNORED = frozenset({*range(0xE0, 0xF0), 0xFE, 0xDC})  # by decoders: APPn, comment, DNL
# Tables, frames and scans. Of other segments decoders know nothing: they refuse the file.
PIXEL_SEGMENTS = frozenset({*range(0xC0, 0xD0), SCAN, 0xDB, 0xDD}) - {0xC8}
# JFIF's and Adobe's segments say which colour space the samples are in. Their other fields
# (version, density, preview, flags) are replaced by constants.
JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
LEAST_JFIF, LEAST_ADOBE = 14, 12  # bytes; decoders ignore shorter ones

PNG = b"\x89PNG\r\n\x1a\n"
PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
ANCILLARY = 0x20  # a bit of the first letter of a PNG chunk's name

RIFF_HEADER = 12
WEBP_PIXELS = frozenset({b"VP8 ", b"VP8L"})  # not ALPH: transparency is dropped anyway
WEBP_FRAMES = frozenset({b"ANIM", b"ANMF"})


@dataclass(frozen=True)
class StrippedFile:
    """An image file that holds pixels and nothing else.

    Attributes
    ----------
    data : bytes
        To be decoded in place of the original.
    orientation : int
        EXIF's, 1..8; 1 where there is none.
    fault : str or None
        Why the pixels are damaged, whatever a decoder makes of them.
    canvas : tuple[int, int] or None
        Width and height in the extended header of a WebP.
    is_sound_jpeg : bool
        Whether ``data`` is a JPEG with a proper end, of known segments.
    """

    data: bytes
    orientation: int = 1
    fault: str | None = None
    canvas: tuple[int, int] | None = None
    is_sound_jpeg: bool = False


def strip_metadata(data: bytes) -> StrippedFile:
    """Return a JPEG, PNG or WebP file without metadata; another file as it is.

    It decodes to the same colours, bit for bit, though transparency is dropped and the picture is
    not turned as the metadata said.

    Raises
    ------
    TruncatedImage
        A JPEG breaks off in one of its segments.
    AnimatedImage
        A PNG or WebP has several frames.
    InvalidImage
        It has more parts than any encoder writes.
    """
    if data.startswith(SOI):
        return _strip_jpeg(data)
    if data.startswith(PNG):
        return _strip_png(data)
    if data.startswith(b"RIFF") and data[8:RIFF_HEADER] == b"WEBP":
        return _strip_webp(data)
    return StrippedFile(data)


def with_orientation(file: StrippedFile, size: tuple[int, int]) -> bytes:
    """Return a stripped JPEG, PNG or WebP file with its orientation, the only entry of its EXIF.

    The result depends on nothing but the pixels' code and the orientation: stripping it and
    calling this again gives the same bytes.

    Parameters
    ----------
    file : StrippedFile
    size : tuple[int, int]
        Width and height in pixels of the picture as it is stored, before it is turned.
    """
    data = file.data
    if file.orientation == 1:
        return data
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01"
    tiff += struct.pack(">HHIHxx", ORIENTATION, SHORT, 1, file.orientation) + bytes(4)
    if data.startswith(SOI):
        segment = bytes((0xFF, APP1)) + (len(EXIF + tiff) + 2).to_bytes(2) + EXIF + tiff
        return SOI + segment + data[len(SOI) :]
    if data.startswith(PNG):
        end = len(PNG) + 12 + int.from_bytes(data[8:12])  # of IHDR
        chunk = b"eXIf" + tiff
        exif = len(tiff).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)
        return data[:end] + exif + data[end:]
    width, height = ((side - 1).to_bytes(3, "little") for side in size)
    header = b"VP8X" + struct.pack("<I", 10) + b"\x08\x00\x00\x00" + width + height
    chunks = header + data[RIFF_HEADER:] + b"EXIF" + struct.pack("<I", len(tiff)) + tiff
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def exif_orientation(exif: bytes) -> int:
    """Return the orientation 1..8 in the first directory of an EXIF block; else 1.

    >>> exif_orientation(bytes.fromhex("49492a0008000000 0100 1201 0300 01000000 06000000"))
    6
    """
    tiff = exif.removeprefix(EXIF)
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return 1
    start = int(struct.unpack_from(f"{order}I", tiff, 4)[0])
    if start + 2 > len(tiff):
        return 1
    count = int(struct.unpack_from(f"{order}H", tiff, start)[0])
    entries = tiff[start + 2 : start + 2 + 12 * count]
    whole = entries[: len(entries) // 12 * 12]
    for tag, kind, _, value in struct.iter_unpack(f"{order}HHIH2x", whole):
        if (tag, kind) == (ORIENTATION, SHORT):
            return int(value) if 1 <= value <= 8 else 1
    return 1


# ---- JPEG


@dataclass(frozen=True)
class _Segment:
    code: int
    body: bytes  # without marker and length
    entropy: bytes = b""  # coded samples that follow the header of a scan


def _strip_jpeg(data: bytes) -> StrippedFile:
    kept, orientation, scans, is_known = [SOI], 0, 0, True
    for number, segment in enumerate(_segments(data)):
        _check_count(number, MOST_PARTS, "parts")
        if segment.code == END:
            kept.append(EOI)
            return StrippedFile(b"".join(kept), orientation or 1, is_sound_jpeg=is_known)
        if segment.code == APP1 and not orientation and segment.body.startswith(EXIF):
            orientation = exif_orientation(segment.body)  # later blocks are not looked at
        scans += segment.code == SCAN
        _check_count(scans, MOST_SCANS, "scans")
        is_known &= segment.code in PIXEL_SEGMENTS | IGNORED
        kept.append(_without_metadata(segment))
    return StrippedFile(b"".join(kept), orientation or 1)


def _segments(data: bytes) -> Iterator[_Segment]:
    """Yield the segments of a JPEG up to the end of its first picture, or of the file."""
    place = len(SOI)
    while found := MARKER.search(data, place):
        code, after = found[1][0], found.end()
        if code == END:
            yield _Segment(END, b"")
            return
        end = after + int.from_bytes(data[after : after + 2])
        if code in WITHOUT_LENGTH or end < after + 2:
            return  # what follows is no JPEG; whether enough came before, the decoder says
        if end > len(data):
            raise TruncatedImage(f"the image breaks off at segment {code:#x}: send it again, whole")
        place = _end_of_scan(data, end) if code == SCAN else end
        yield _Segment(code, data[after + 2 : end], _without_fill(data[end:place]))


def _end_of_scan(data: bytes, start: int) -> int:
    """Return where the marker after a scan begins, with the fill bytes before it."""
    marker = MARKER.search(data, start)
    if not marker:
        return len(data)
    end = marker.start()
    while end > start and data[end - 1] == 0xFF:
        end -= 1
    return end


def _without_fill(entropy: bytes) -> bytes:
    """Return coded samples with one byte for each run of fill bytes, which decoders read as one.

    Pillow hands a file over in blocks and libjpeg begins again with a run that a block breaks off:
    50 MB of them took 17 s.
    """
    return FILL_BYTES.sub(b"\xff", entropy) if b"\xff\xff" in entropy else entropy


def _without_metadata(segment: _Segment) -> bytes:
    code, body = segment.code, segment.body
    if code == APP0 and body.startswith(b"JFIF\x00") and len(body) >= LEAST_JFIF:
        return JFIF
    if code == APP14 and body.startswith(b"Adobe") and len(body) >= LEAST_ADOBE:
        return ADOBE + body[LEAST_ADOBE - 1 : LEAST_ADOBE]  # the colour transform
    if code in IGNORED:
        return b""
    return bytes((0xFF, code)) + (len(body) + 2).to_bytes(2) + body + segment.entropy


# ---- PNG


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    body: bytes
    whole: bytes  # with length, name and checksum, as far as the file goes

    @property
    def is_sound(self) -> bool:
        """Whether it is all there and its checksum is right."""
        checksum = self.whole[8 + len(self.body) :]
        return len(checksum) == 4 and zlib.crc32(self.whole[4:-4]) == int.from_bytes(checksum)


def _strip_png(data: bytes) -> StrippedFile:
    kept, orientation, faults = [PNG], 1, []
    for number, chunk in enumerate(_png_chunks(data)):
        _check_count(number, MOST_PARTS, "parts")
        _refuse_animation(chunk)
        if chunk.name in PIXEL_CHUNKS:
            kept.append(chunk.whole)
            faults += [] if chunk.is_sound else [f"the checksum of {chunk.name.decode()} is wrong"]
        elif not chunk.name[0] & ANCILLARY:
            faults.append(f"it has an unknown critical chunk {chunk.name!r}")
        elif chunk.name == b"eXIf" and chunk.is_sound:
            orientation = exif_orientation(chunk.body)
        if chunk.name == b"IEND":
            break
    else:
        faults.append("it has no end")
    return StrippedFile(b"".join(kept), orientation, faults[0] if faults else None)


def _png_chunks(data: bytes) -> Iterator[_Chunk]:
    place = len(PNG)
    while place + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        yield _Chunk(name, data[place + 8 : end - 4], data[place:end])
        place = end


def _refuse_animation(chunk: _Chunk) -> None:
    several = chunk.name == b"acTL" and int.from_bytes(chunk.body[:4]) > 1
    if several or chunk.name == b"fdAT":
        raise AnimatedImage("the image is animated: send one frame")


# ---- WebP


def _strip_webp(data: bytes) -> StrippedFile:
    orientation, canvas, pixels = 0, None, b""
    size = int.from_bytes(data[4:8], "little") + 8
    for number, (name, body) in enumerate(_riff_chunks(data[:size])):
        _check_count(number, MOST_PARTS, "parts")
        if name in WEBP_FRAMES:
            raise AnimatedImage("the image is animated: send one frame")
        if name == b"EXIF" and not orientation:
            orientation = exif_orientation(body)
        elif name == b"VP8X" and len(body) >= 10:
            canvas = _one_more(body[4:7]), _one_more(body[7:10])
        elif name in WEBP_PIXELS and not pixels:
            pixels = name + len(body).to_bytes(4, "little") + body + bytes(len(body) % 2)
    riff = b"RIFF" + (len(pixels) + 4).to_bytes(4, "little") + b"WEBP" + pixels
    fault = "it is shorter than it says" if size > len(data) else None
    return StrippedFile(riff, orientation or 1, fault, canvas)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = RIFF_HEADER
    while place + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, place)
        end = place + 8 + length
        yield name, data[place + 8 : end]
        place = end + length % 2


def _one_more(field: bytes) -> int:
    return int.from_bytes(field, "little") + 1


def _check_count(count: int, most: int, what: str) -> None:
    if count > most:
        raise InvalidImage(f"the image has more than {most} {what}: save it with another program")
