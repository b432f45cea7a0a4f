"""A ZIP that is written in pieces by one process after another, none of which holds it whole.

What has been written is a small ``ZipState``; whoever has it goes on where another left off, in
the middle of a file if need be: a file's pieces are packed apart, each ends at a whole byte, and
the CRC goes on from the last. The records of the directory, which a ZIP has at its end, come out
beside the content, to be kept until then. Larger than 4 GiB, or of over 65,535 files, it is ZIP64.

    >>> import io, zipfile
    >>> first = ZipWriter(ZipState(), datetime(2026, 1, 2))
    >>> first.begin("long.txt")
    >>> first.more(b"one, ")
    >>> state = first.pause()
    >>> second = ZipWriter(state, datetime(2026, 1, 2))
    >>> second.more(b"two")
    >>> second.end()
    >>> parts = bytes(first.content) + bytes(second.content)
    >>> records = bytes(first.records) + bytes(second.records)
    >>> whole = parts + records + ending(second.pause())
    >>> zipfile.ZipFile(io.BytesIO(whole)).read("long.txt")
    b'one, two'
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from datetime import datetime

STORED, DEFLATED = 0, 8
LEVEL = 6
UTF8, SIZES_FOLLOW = 0x800, 0x8
PLAIN, ZIP64 = 20, 45  # the version that is needed to read it
UNIX = 3 << 8
READABLE = 0o100644 << 16
BYTES_4, FILES_2 = 0xFFFFFFFF, 0xFFFF
LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL = struct.Struct("<4s6H3L5H2L")
FOLLOWING = struct.Struct("<4sL2Q")
LAST_64 = struct.Struct("<4sQ2H2L4Q")
WHERE_64 = struct.Struct("<4sLQL")
LAST = struct.Struct("<4s4H2LH")


@dataclass(frozen=True)
class ZipFileState:
    """A file of a ZIP: where it begins, and what has been written of it.

    Attributes
    ----------
    name : str
    at : int
        Where its header is.
    crc, size, packed : int
        Of what was written so far; bytes.
    method : int
        How it is packed.
    """

    name: str
    at: int
    crc: int = 0
    size: int = 0
    packed: int = 0
    method: int = DEFLATED


@dataclass(frozen=True)
class ZipState:
    """How far a ZIP is.

    Attributes
    ----------
    offset : int
        Bytes of content so far.
    files : int
    directory : int
        Bytes of the directory's records.
    running : ZipFileState or None
        The file that goes on.
    """

    offset: int = 0
    files: int = 0
    directory: int = 0
    running: ZipFileState | None = None


class ZipWriter:
    """Writes a piece of a ZIP.

    Parameters
    ----------
    state : ZipState
        How far it is.
    modified : datetime
        Of all files.

    Attributes
    ----------
    content : bytearray
        What comes next in the ZIP.
    records : bytearray
        What the directory says of the files that were ended.
    """

    def __init__(self, state: ZipState, modified: datetime) -> None:
        self._state = state
        self._when = _dos_time(modified)
        self._packer = _packer()
        self.content = bytearray()
        self.records = bytearray()

    def add(self, name: str, content: bytes, packed: bool = False) -> None:
        """Write a file; unpacked where that would gain nothing."""
        packer = _packer()
        body = packer.compress(content) + packer.flush() if packed else content
        file = ZipFileState(
            name,
            self._at(),
            zlib.crc32(content),
            len(content),
            len(body),
            DEFLATED if packed else STORED,
        )
        self.content += self._local(file, UTF8, PLAIN, (file.crc, file.packed, file.size), b"")
        self.content += body
        self._ended(file, UTF8)

    def begin(self, name: str) -> None:
        """Begin a file that may take several pieces."""
        file = ZipFileState(name, self._at())
        sizes = struct.pack("<2H2Q", 1, 16, 0, 0)
        numbers = (0, BYTES_4, BYTES_4)
        self.content += self._local(file, UTF8 | SIZES_FOLLOW, ZIP64, numbers, sizes)
        self._packer = _packer()
        self._state = replace(self._state, running=file)

    def more(self, content: bytes) -> None:
        """Write more of the file that was begun."""
        self._run(content, self._packer.compress(content))

    def end(self) -> None:
        """End the file that was begun."""
        self._run(b"", self._packer.flush())
        file = self._state.running
        assert file
        self.content += FOLLOWING.pack(b"PK\x07\x08", file.crc, file.packed, file.size)
        self._state = replace(self._state, running=None)
        self._ended(file, UTF8 | SIZES_FOLLOW)

    def pause(self) -> ZipState:
        """Return how far it is with this piece, after which another writer goes on."""
        if self._state.running:
            self._run(b"", self._packer.flush(zlib.Z_FULL_FLUSH))
        return replace(self._state, offset=self._at())

    def _run(self, content: bytes, packed: bytes) -> None:
        file = self._state.running
        assert file, "no file was begun"
        self.content += packed
        file = replace(
            file,
            crc=zlib.crc32(content, file.crc),
            size=file.size + len(content),
            packed=file.packed + len(packed),
        )
        self._state = replace(self._state, running=file)

    def _at(self) -> int:
        return self._state.offset + len(self.content)

    def _local(
        self, file: ZipFileState, flags: int, version: int, told: tuple[int, ...], extra: bytes
    ) -> bytes:
        name = file.name.encode()
        first = (b"PK\x03\x04", version, flags, file.method, *self._when)
        return LOCAL.pack(*first, *told, len(name), len(extra)) + name + extra

    def _ended(self, file: ZipFileState, flags: int) -> None:
        record = self._record(file, flags)
        self.records += record
        state = self._state
        self._state = replace(state, files=state.files + 1, directory=state.directory + len(record))

    def _record(self, file: ZipFileState, flags: int) -> bytes:
        """Return what the directory says of a file; what is too large for it follows behind."""
        numbers = (file.size, file.packed, file.at)
        large = [number for number in numbers if number >= BYTES_4]
        extra = struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""
        size, packed, at = (min(number, BYTES_4) for number in numbers)
        name, version = file.name.encode(), ZIP64 if large else PLAIN
        first = (b"PK\x01\x02", UNIX | ZIP64, version, flags, file.method, *self._when)
        lengths = (len(name), len(extra), 0, 0, 0)
        return CENTRAL.pack(*first, file.crc, packed, size, *lengths, READABLE, at) + name + extra


def ending(state: ZipState) -> bytes:
    """Return what comes after the directory, which comes after the content."""
    files, size, at = state.files, state.directory, state.offset
    last = b""
    if files > FILES_2 or size > BYTES_4 or at > BYTES_4:
        counts = (0, 0, files, files, size, at)
        rest = LAST_64.size - 12  # without its mark and this number
        last = LAST_64.pack(b"PK\x06\x06", rest, UNIX | ZIP64, ZIP64, *counts)
        last += WHERE_64.pack(b"PK\x06\x07", 0, at + size, 1)
    count = min(files, FILES_2)
    told = (0, 0, count, count, min(size, BYTES_4), min(at, BYTES_4), 0)
    return last + LAST.pack(b"PK\x05\x06", *told)


def _packer() -> zlib._Compress:
    return zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)


def _dos_time(when: datetime) -> tuple[int, int]:
    date = (max(when.year, 1980) - 1980) << 9 | when.month << 5 | when.day
    return when.hour << 11 | when.minute << 5 | when.second // 2, date
