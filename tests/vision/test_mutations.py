"""Damaged files end in a typed error or a picture: nothing else, and never a hang."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO

import pytest
from PIL import Image

from chalicelib.errors import InvalidImage
from chalicelib.vision import (
    DetectionOptions,
    Detections,
    Detector,
    annotate,
    decode_image,
    image_size,
)

MUTANTS = 400  # of each kind of file
LONGEST_SECONDS = 60
# A damaged header may promise a large picture: this keeps what is unfolded, and the test, small.
MAX_PIXELS = 4_000_000

KINDS: dict[str, tuple[str, str, dict]] = {
    "jpeg": ("RGB", "JPEG", {}),
    "jpeg progressive": ("RGB", "JPEG", {"progressive": True}),
    "jpeg grey": ("L", "JPEG", {}),
    "jpeg cmyk": ("CMYK", "JPEG", {}),
    "jpeg mpo": ("RGB", "MPO", {"save_all": True}),
    "jpeg exif": ("RGB", "JPEG", {"exif": True}),
    "png": ("RGB", "PNG", {}),
    "png palette": ("P", "PNG", {"transparency": 0}),
    "png alpha": ("RGBA", "PNG", {}),
    "png 16 bit": ("I;16", "PNG", {}),
    "png bilevel": ("1", "PNG", {}),
    "png exif": ("RGB", "PNG", {"exif": True}),
    "apng": ("RGB", "PNG", {"save_all": True}),
    "webp": ("RGB", "WEBP", {}),
    "webp alpha": ("RGBA", "WEBP", {"lossless": True}),
    "webp exif": ("RGB", "WEBP", {"exif": True}),
    "webp animated": ("RGB", "WEBP", {"save_all": True}),
    "bmp": ("RGB", "BMP", {}),
    "bmp palette": ("P", "BMP", {}),
    "bmp alpha": ("RGBA", "BMP", {}),
}


def original(photo: Callable[..., Image.Image], kind: str) -> bytes:
    mode, file_format, wanted = KINDS[kind]
    image, options = photo(48, 40), dict(wanted)
    image = image.convert("L").convert(mode) if mode == "I;16" else image.convert(mode)
    if options.pop("exif", False):
        options["exif"] = Image.Exif()
        options["exif"].update({0x0112: 6, 0x010E: "a photo", 0x0131: "a camera"})
    if options.get("save_all"):
        options["append_images"] = [photo(48, 40, 1)]
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def flip(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        data[rng.randrange(len(data))] = rng.randrange(256)


def flip_header(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice([1, 2, 4])):
        data[rng.randrange(min(len(data), 100))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])


def truncate(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def insert(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    data[at:at] = rng.randbytes(rng.choice([1, 2, 4, 100]))


def cut(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice([1, 2, 4, 100])]


def repeat(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    data[at:at] = data[at : at + rng.choice([4, 64, 1000])]


def mutant(rng: random.Random, data: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if damaged:
            rng.choice([flip, flip_header, truncate, insert, cut, repeat])(rng, damaged)
    return bytes(damaged)


@contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    """Interrupt what hangs, where the platform can."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def interrupt(*_: object) -> None:
        pytest.fail(f"still decoding after {seconds} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.filterwarnings("ignore")  # of Pillow, about damaged metadata
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_refused_with_a_reason_or_read(kind: str, photo) -> None:
    data, rng = original(photo, kind), random.Random(kind)
    refused = read = 0
    for number in range(MUTANTS):
        damaged = mutant(rng, data)
        with no_longer_than(LONGEST_SECONDS):
            try:
                picture = decode_image(
                    damaged, max_pixels=MAX_PIXELS, enough=rng.choice([None, 16])
                )
            except InvalidImage as error:
                refused += 1
                assert error.detail, f"{kind} {number}"
            else:
                read += 1
                assert picture.image.mode == "RGB", f"{kind} {number}"
                assert min(picture.size) > 0, f"{kind} {number}"
    assert refused > MUTANTS / 10
    assert read or kind in {"apng", "webp animated"}


@pytest.mark.filterwarnings("ignore")  # of Pillow, about damaged metadata
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_header_says_the_size_that_decoding_finds(kind: str, photo) -> None:
    data, rng = original(photo, kind), random.Random(kind)
    for number in range(MUTANTS):
        damaged = mutant(rng, data)
        try:
            found = decode_image(damaged, max_pixels=MAX_PIXELS).size
        except InvalidImage:
            found = None
        try:
            told = image_size(damaged, max_pixels=MAX_PIXELS)
        except InvalidImage:
            told = None
        assert told == found or found is None, f"{kind} {number}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["jpeg exif", "png alpha", "webp", "bmp palette"])
def test_a_damaged_file_goes_through_detection_and_drawing(kind: str, photo, make_model) -> None:
    detector = Detector(make_model([[8, 8, 40, 40, 0.9, 0]], dynamic=True))
    data, rng = original(photo, kind), random.Random(kind)
    options = DetectionOptions(max_pixels=MAX_PIXELS)
    for _ in range(60):
        damaged = mutant(rng, data)
        with no_longer_than(LONGEST_SECONDS):
            try:
                found = detector.detect(damaged, options).detections
            except InvalidImage:
                continue
            assert isinstance(found, Detections)
            assert annotate(damaged, found, max_pixels=MAX_PIXELS)[:2] == b"\xff\xd8"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("magic", [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF", b"BM", b""])
def test_noise_behind_a_magic_number_is_refused(magic: bytes) -> None:
    rng = random.Random(0)
    for _ in range(200):
        with no_longer_than(LONGEST_SECONDS), pytest.raises(InvalidImage):
            decode_image(magic + rng.randbytes(rng.randrange(1, 400)), max_pixels=MAX_PIXELS)
