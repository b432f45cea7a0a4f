"""A perceptual fingerprint: photos of the same thing have near ones, shifted or exposed otherwise.

The usual 64-bit hash of a whole picture sees how a scene is laid out: all photos from one machine
are alike to it. This one looks at the fine structure in the middle. The picture becomes 64x64 grey
pixels; what is smooth is taken away, and with it the exposure; of the middle 40x40 the signs of the
16x16 lowest cosine frequencies (but for the six lowest) are the fingerprint: 250 bits. A new
picture is compared in 131 ways: at shifts of up to a sixteenth of its width and height, and as if
it had been taken from a little nearer or farther, for crops.

``NEAR`` was chosen on 184 photos of metal tags, each photographed up to 17 times, in four places
before a busy frame; ``benchmarks/split.py`` measures it anew. A surface without any structure has
no fingerprint worth the name: its bits are the camera's noise.

    >>> grain = np.random.default_rng(0).integers(0, 255, (30, 45), np.uint8)
    >>> tag = Image.fromarray(grain).resize((450, 300))
    >>> moved = Image.fromarray(np.roll(tag, (5, 12), (0, 1)))
    >>> int(distances(fingerprint(moved), fingerprint(tag).bits)[0]) <= NEAR
    True
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from chalicelib.vision import decode_image

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]

SIDE = 64
SMOOTH = 3.0  # pixels of these 64: what is smoother is lighting
MARGIN = 12  # what lies outside is likely background
WINDOW = SIDE - 2 * MARGIN
REACH = 4  # pixels of these 64
ZOOMED = (56, 72)  # as if the 64 were so many
FREQUENCIES = 16
LOWEST = 3  # frequencies of a lower order say how the scene is laid out
BITS = 250
WORDS = 4
PART = 3  # words that are compared first
NEAR = 62
BLOCK = 16384  # rows of the index at a time, so that they stay in the processor's cache
ENOUGH = 4 * SIDE


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What a picture looks like.

    Attributes
    ----------
    bits : uint64 [4]
        To store: 250 bits, the rest zero.
    shifted : uint64 [S, 4]
        To look up with: the bits at every shift and size, as it is among them.
    """

    bits: UInt64
    shifted: UInt64

    def to_bytes(self) -> bytes:
        """Return the 32 bytes to store."""
        return self.bits.astype("<u8").tobytes()


def fingerprint_of(data: bytes) -> Fingerprint:
    """Return the fingerprint of an encoded image, turned upright.

    Raises
    ------
    InvalidImage
        As ``decode_image``.
    """
    return fingerprint(decode_image(data, enough=ENOUGH).image)


def fingerprint(picture: Image.Image) -> Fingerprint:
    """Return the fingerprint of a decoded picture of any size and shape."""
    whole = _spectra(picture, SIDE, 1)
    zoomed = [_spectra(picture, side, 2) for side in ZOOMED]
    shifted = _packed(np.concatenate([whole, *zoomed]) > 0)
    return Fingerprint(shifted[len(whole) // 2], shifted)


def _spectra(picture: Image.Image, side: int, step: int) -> Float32:
    """Return the cosine spectra of the middle of a picture made so large, at every shift."""
    grey = picture.convert("L").resize((side, side), Image.Resampling.BOX)
    smooth = grey.filter(ImageFilter.GaussianBlur(SMOOTH))
    structure = np.asarray(grey, np.float32) - np.asarray(smooth, np.float32)
    least = (side - WINDOW) // 2 - REACH
    near = structure[least : side - least, least : side - least]
    views = np.lib.stride_tricks.sliding_window_view(near, (WINDOW, WINDOW))[::step, ::step]
    waves = _cosines(WINDOW)
    spectra = waves @ views.reshape(-1, WINDOW, WINDOW) @ waves.T
    return np.asarray(spectra[:, _kept()], np.float32)


def distances(asked: Fingerprint, bits: UInt64) -> UInt8:
    """Return in how many bits each stored fingerprint differs, in the way that suits it best.

    Parameters
    ----------
    asked : Fingerprint
    bits : uint64 [N, 4] or [4]

    Returns
    -------
    uint8 [N]
        Of 250. Unrelated pictures differ in some 100: in the best of 131 ways, that is.
    """
    return _least(asked.shifted, np.ascontiguousarray(np.atleast_2d(bits).T))


class Index:
    """Stored fingerprints, to be asked which of them are near. Holds 32 bytes each.

    >>> index = Index()
    >>> index.add(np.zeros(4, np.uint64))
    0
    >>> index.near(Fingerprint(np.zeros(4, np.uint64), np.zeros((1, 4), np.uint64)))
    [(0, 0)]
    """

    def __init__(self, near: int = NEAR) -> None:
        self._words: UInt64 = np.zeros((WORDS, 1024), np.uint64)
        self._count = 0
        self._near = near

    def __len__(self) -> int:
        return self._count

    def add(self, bits: UInt64) -> int:
        """Store one and return its number, counted from 0."""
        self.extend(bits)
        return self._count - 1

    def extend(self, bits: UInt64) -> None:
        """Store some, uint64 [N, 4] or [4]; their numbers follow on the last."""
        more = np.atleast_2d(bits).T
        count = self._count + more.shape[1]
        if count > self._words.shape[1]:
            grown = np.empty((WORDS, max(count, 2 * self._count)), np.uint64)
            grown[:, : self._count] = self._words[:, : self._count]
            self._words = grown
        self._words[:, self._count : count] = more
        self._count = count

    def near(
        self, asked: Fingerprint, start: int = 0, stop: int | None = None
    ) -> list[tuple[int, int]]:
        """Return number and distance of all that are near, nearest first, then oldest.

        May be called while another thread adds: what was there at the call is searched.

        Parameters
        ----------
        asked : Fingerprint
        start, stop : int, optional
            The first number to look at and the one after the last.
        """
        words = self._words[:, start : self._count if stop is None else stop]
        # Where a part of the bits differs in too many, all do: hardly an unrelated picture is left.
        likely = np.flatnonzero(_least(asked.shifted[:, :PART], words[:PART]) <= self._near)
        found = _least(asked.shifted, words[:, likely])
        rows = np.flatnonzero(found <= self._near)
        order = np.argsort(found[rows], kind="stable")
        return [(int(likely[row]) + start, int(found[row])) for row in rows[order]]


def _least(shifted: UInt64, words: UInt64) -> UInt8:
    """Return for each column of words [W, N] the least distance to any of shifted [S, W]."""
    least = np.full(words.shape[1], 255, np.uint8)
    for start in range(0, words.shape[1], BLOCK):
        block = words[:, start : start + BLOCK]
        best = least[start : start + BLOCK]
        differing = np.empty(block.shape[1], np.uint64)
        counts, total = np.empty((2, block.shape[1]), np.uint8)
        for query in shifted:
            np.bitwise_xor(block[0], query[0], out=differing)
            np.bitwise_count(differing, out=total)
            for word, asked in zip(block[1:], query[1:], strict=True):
                np.bitwise_xor(word, asked, out=differing)
                np.bitwise_count(differing, out=counts)
                np.add(total, counts, out=total)
            np.minimum(best, total, out=best)
    return least


def _cosines(length: int) -> Float32:
    """Return the first cosine waves (DCT-II), float32 [16, length]."""
    order = np.arange(FREQUENCIES)[:, None]
    at = np.arange(length)[None] + 0.5
    return np.cos(np.pi * order * at / length).astype(np.float32)


def _kept() -> npt.NDArray[np.bool_]:
    order = np.arange(FREQUENCIES)
    return np.add.outer(order, order) >= LOWEST


def _packed(bits: npt.NDArray[np.bool_]) -> UInt64:
    padded = np.zeros((len(bits), WORDS * 64), np.bool_)
    padded[:, : bits.shape[1]] = bits
    return np.packbits(padded, axis=1).view("<u8").astype(np.uint64)
