"""A large object in S3 as a file that seeks: only what is looked at is read, in pieces.

``botocore`` gives a stream that cannot go back. ``smart_open`` gives files that can, but opens a
stream anew with every jump; a ZIP of images with labels in another folder jumps with each image.
So what was read lately is kept, piece by piece.
"""

from __future__ import annotations

import io
from collections import OrderedDict

from chalicelib.storage import ObjectStore

PIECE = 1 << 20  # bytes
KEPT = 48  # pieces


class RangedObject:
    """One object, as it was when it had a certain ETag; what it is later is not read.

    Parameters
    ----------
    store : ObjectStore
    key, etag : str
    size : int
        In bytes.
    version : str
        S3's; empty where the bucket keeps none.
    piece, kept : int
        Bytes that are read at once, and how many such pieces are kept.
    """

    def __init__(
        self,
        store: ObjectStore,
        key: str,
        etag: str,
        size: int,
        piece: int = PIECE,
        kept: int = KEPT,
        version: str = "",
    ) -> None:
        self._store, self._key, self._etag, self._size = store, key, etag, size
        self._piece, self._kept, self._version = piece, kept, version
        self._pieces: OrderedDict[int, bytes] = OrderedDict()
        self._at = 0
        self.reads = 0

    def seekable(self) -> bool:
        """Say that it seeks."""
        return True

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, counted from the start, from here or from the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"there is nothing before the start: {base + offset}")
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read up to so many bytes, or all that are left.

        Raises
        ------
        Conflict
            The object is another by now.
        ObjectNotFound
            It is gone.
        StorageUnavailable
        """
        end = self._size if size < 0 else min(self._at + size, self._size)
        parts = bytearray()
        while self._at < end:
            number, offset = divmod(self._at, self._piece)
            part = self._part(number)[offset : offset + end - self._at]
            parts += part
            self._at += len(part)
        return bytes(parts)

    def _part(self, number: int) -> bytes:
        """Return a piece, from among those that are kept or from S3."""
        if number in self._pieces:
            self._pieces.move_to_end(number)
            return self._pieces[number]
        start = number * self._piece
        stop = min(start + self._piece, self._size)
        self.reads += 1
        part = self._store.get_range(self._key, start, stop, self._etag, self._version)
        self._pieces[number] = part
        if len(self._pieces) > self._kept:
            self._pieces.popitem(last=False)
        return part
