"""Damaged files end in a typed error or a picture: nothing else, and never a hang."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.fuzz import KINDS, fuzz, mutant, original
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
FUZZED, SEED = 100, 1  # 2,000 in all; `make fuzz` takes 20,000 of each format
LONGEST_SECONDS = 60
# A damaged header may promise a large picture: this keeps what is unfolded, and the test, small.
MAX_PIXELS = 4_000_000


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
def test_a_damaged_file_is_refused_with_a_reason_or_read(kind: str) -> None:
    data, rng = original(kind), random.Random(kind)
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
def test_a_damaged_header_says_the_size_that_decoding_finds(kind: str) -> None:
    data, rng = original(kind), random.Random(kind)
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
def test_a_damaged_file_goes_through_detection_and_drawing(kind: str, make_model) -> None:
    detector = Detector(make_model([[8, 8, 40, 40, 0.9, 0]], dynamic=True))
    data, rng = original(kind), random.Random(kind)
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


@pytest.mark.filterwarnings("ignore")  # of Pillow, about damaged metadata
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_has_one_verdict_whatever_is_done_with_it(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = fuzz(kind, FUZZED, SEED, tmp_path)

    assert (outcome["wrong"], outcome["slow"]) == (0, 0), capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("magic", [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF", b"BM", b""])
def test_noise_behind_a_magic_number_is_refused(magic: bytes) -> None:
    rng = random.Random(0)
    for _ in range(200):
        with no_longer_than(LONGEST_SECONDS), pytest.raises(InvalidImage):
            decode_image(magic + rng.randbytes(rng.randrange(1, 400)), max_pixels=MAX_PIXELS)
