"""Strict HTTP/1.1: heads and bodies that two parsers could read differently are refused.

`http.server` takes bare line feeds, folded header lines, several lengths, and signs in chunk
sizes. Behind a proxy each of those lets a request hide in the body of another.
"""

from __future__ import annotations

import io
import re
import socket
import time
from collections.abc import Iterator
from email.message import Message
from typing import BinaryIO

from chalicelib.errors import InvalidRequest, PayloadTooLarge

LONGEST_CHUNK_LINE = 1024
LONGEST_TRAILER = 8192
PIECE = 64 * 1024
REQUEST_LINE = re.compile(rb"[!-~]+ [!-~\x80-\xff]+ HTTP/[0-9]\.[0-9]\r\n")
HEADER_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n")
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r\n")
LENGTH = re.compile(r"[0-9]{1,15}")


class TimedStream(io.RawIOBase):
    """A socket whose reads and writes share one deadline, however slowly bytes come.

    Parameters
    ----------
    connection : socket
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._until = time.monotonic()

    def allow(self, seconds: float) -> None:
        """Set the deadline; later calls replace it."""
        self._until = time.monotonic() + seconds

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Receive what is there.

        Raises
        ------
        TimeoutError
            The deadline has passed.
        """
        self._limit()
        return self._connection.recv_into(buffer)

    def write(self, content: bytes) -> int:  # type: ignore[override]
        """Send some of the bytes; return how many.

        Raises
        ------
        TimeoutError
            The deadline has passed.
        """
        self._limit()
        return self._connection.send(content)

    def _limit(self) -> None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline of the connection has passed")
        self._connection.settimeout(left)


class HeadLines:
    """Passes the lines of a request's head on, and keeps them.

    Parameters
    ----------
    stream : binary file
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.lines: list[bytes] = []

    def readline(self, limit: int = -1) -> bytes:
        """Return the next line."""
        line = self._stream.readline(limit)
        self.lines.append(line)
        return line


def check_head(request_line: bytes, lines: list[bytes]) -> None:
    """Check each line of a request's head, of which the last is empty.

    Raises
    ------
    InvalidRequest
        A line does not end with CR LF, continues another, or holds a control character.
    """
    if not REQUEST_LINE.fullmatch(request_line):
        raise InvalidRequest("the request line is not method, path and version, then CR LF")
    if not lines or lines[-1] != b"\r\n":
        raise InvalidRequest("the head does not end with an empty line of CR LF")
    for line in lines[:-1]:
        if not HEADER_LINE.fullmatch(line):
            shown = line[:40].decode("latin-1")
            raise InvalidRequest(f"the header line {shown!r} is not NAME: VALUE CR LF")


def body_length(headers: Message, version: str) -> int | None:
    """Return how many bytes a request's body has, or ``None`` where it comes in chunks.

    Raises
    ------
    InvalidRequest
        The headers name no length, several, or one beside chunks.
    """
    lengths = headers.get_all("content-length", [])
    codings = headers.get_all("transfer-encoding", [])
    if codings:
        if lengths:
            raise InvalidRequest("send either Content-Length or Transfer-Encoding, not both")
        if len(codings) > 1 or codings[0].strip().lower() != "chunked" or version < "HTTP/1.1":
            raise InvalidRequest("the only Transfer-Encoding taken is chunked, over HTTP/1.1")
        return None
    if len(lengths) > 1:
        raise InvalidRequest("Content-Length is sent more than once")
    length = lengths[0].strip(" \t") if lengths else "0"
    if not LENGTH.fullmatch(length):
        raise InvalidRequest(f"Content-Length is {length[:40]!r}, not a number")
    return int(length)


def pieces(stream: BinaryIO, length: int) -> Iterator[bytes]:
    """Yield a body of a known length in pieces of up to 64 KiB.

    Raises
    ------
    InvalidRequest
        It ends early.
    """
    while length:
        piece = stream.read(min(length, PIECE))
        if not piece:
            raise InvalidRequest(f"the body ends {length} bytes early")
        length -= len(piece)
        yield piece


def chunked_body(stream: BinaryIO, too_large: PayloadTooLarge, most: int) -> bytes:
    """Return a body that comes in chunks; trailers are read and dropped.

    Parameters
    ----------
    stream : binary file
    too_large : PayloadTooLarge
        Raised when the body is larger than ``most``.
    most : int
        Bytes.

    Raises
    ------
    InvalidRequest
        A size is not hexadecimal digits, or a line does not end with CR LF.
    PayloadTooLarge
    """
    body = bytearray()
    while size := _chunk_size(stream):
        if len(body) + size > most:
            raise too_large
        for piece in pieces(stream, size):
            body += piece
        if stream.read(2) != b"\r\n":
            raise InvalidRequest("a chunk of the body does not end with CR LF")
    _drop_trailers(stream)
    return bytes(body)


def _chunk_size(stream: BinaryIO) -> int:
    match = CHUNK_LINE.fullmatch(stream.readline(LONGEST_CHUNK_LINE))
    if not match:
        raise InvalidRequest("the body is not chunked as it says: a chunk's size is malformed")
    return int(match[1], 16)


def _drop_trailers(stream: BinaryIO) -> None:
    left = LONGEST_TRAILER
    while (line := stream.readline(left)) != b"\r\n":
        left -= len(line)
        if left <= 0 or not HEADER_LINE.fullmatch(line):
            raise InvalidRequest("the trailers of the body are malformed")
