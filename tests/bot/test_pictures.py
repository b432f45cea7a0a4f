"""From a file that somebody sent to one that Telegram takes."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from chalicelib.bot import pictures
from chalicelib.bot.captions import Blur, Concat, Contour, Filter, Rotate, SaltAndPepper, Segment
from chalicelib.errors import AnimatedImage, InvalidImage, NotAnImage, TooManyPixels

MOST = 80_000_000
FILTERS = [Blur(5), Contour(), Rotate(180), SaltAndPepper(0.5), Segment()]
ODD = [(1, 1), (1, 7), (7, 1), (17, 13), (101, 67)]


def saved(image: Image.Image, kind: str = "PNG", **how: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def opened(jpeg: bytes) -> Image.Image:
    with Image.open(BytesIO(jpeg)) as image:
        assert image.format == "JPEG"
        return image.convert("RGB")


def noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("wish", FILTERS, ids=str)
@pytest.mark.parametrize("size", ODD, ids=str)
def test_what_comes_back_has_the_size_of_what_was_sent(wish: Filter, size: tuple[int, int]) -> None:
    made = opened(pictures.filtered(wish, [saved(noise(*size))], MOST))

    assert made.size == size


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16", "CMYK"])
@pytest.mark.parametrize("wish", [Blur(3), Segment()], ids=str)
def test_pictures_of_every_kind_are_filtered_as_they_look(mode: str, wish: Filter) -> None:
    grey = Image.fromarray(np.tile(np.arange(0, 240, 4, np.uint8), (60, 1)))
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) << 8)
    image = sixteen if mode == "I;16" else grey.convert("RGB").convert(mode)
    file = saved(image, "JPEG", quality=95) if mode == "CMYK" else saved(image)
    shown = np.asarray(opened(pictures.filtered(wish, [file], MOST))).astype(int)

    looks = image.convert("RGB") if mode != "I;16" else grey.convert("RGB")
    expected = pictures.apply(wish, [np.asarray(looks)]).astype(int)
    assert (
        np.abs(shown - expected).mean() < 8
    )  # what two JPEGs lose, at an edge from black to white


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_that_was_taken_sideways_is_filtered_upright(orientation: int) -> None:
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (0, 0, 10, 20))
    exif = Image.Exif()
    exif[0x0112] = orientation
    made = opened(
        pictures.filtered(Segment(), [saved(image, "JPEG", exif=exif.tobytes(), quality=95)], MOST)
    )

    assert made.size == ((40, 20) if orientation < 5 else (20, 40))
    white_at = {1: (2, 10), 2: (37, 10), 3: (37, 10), 4: (2, 10)} | {
        5: (10, 2),
        6: (10, 2),
        7: (10, 37),
        8: (10, 37),
    }
    assert made.getpixel(white_at[orientation])[0] > 200
    assert np.asarray(made.convert("L")).mean() < 128


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((9_000, 1_000), (9_000, 1_000)),
        ((12_000, 3_000), (8_000, 2_000)),
        ((2_000, 10), (2_000, 100)),
        ((1, 1), (1, 1)),
        ((1, 300), (15, 300)),
    ],
    ids=str,
)
def test_sizes_are_those_that_telegram_takes(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    made = opened(pictures.for_telegram(Image.new("RGB", size, "red")))

    assert made.size == expected
    assert sum(made.size) <= 10_000
    assert max(made.size) <= 20 * min(made.size)


def test_a_jpeg_over_ten_megabytes_is_made_smaller() -> None:
    jpeg = pictures.for_telegram(noise(4_500, 4_500))

    assert len(jpeg) <= 10_000_000
    assert sum(opened(jpeg).size) > 4_000


def test_a_picture_that_fits_is_passed_on_byte_by_byte() -> None:
    jpeg = saved(noise(60, 40), "JPEG")

    assert pictures.refit(jpeg) == jpeg
    assert opened(pictures.refit(saved(noise(60, 1), "JPEG"))).size == (60, 3)


def test_large_photos_of_an_album_are_scaled_before_they_are_joined() -> None:
    files = [saved(Image.new("RGB", size), "JPEG") for size in ((6_000, 4_000), (2_000, 3_000))]

    made = opened(pictures.filtered(Concat(), files, MOST))

    scaled = 4_000 * (12 / 24) ** 0.5  # is the height of the first, and less than the other's
    assert abs(made.height - scaled) <= 1
    assert abs(made.width - (1.5 + 2 / 3) * scaled) <= 2


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        (b"", InvalidImage),
        (b"GIF89a", NotAnImage),
        (saved(noise(10, 10), "JPEG")[:200], InvalidImage),
        (
            saved(noise(3, 3), "WEBP", save_all=True, append_images=[Image.new("RGB", (3, 3))]),
            AnimatedImage,
        ),
    ],
    ids=["empty", "gif", "broken off", "animated"],
)
def test_a_file_that_is_no_picture_says_why(file: bytes, kind: type[InvalidImage]) -> None:
    with pytest.raises(kind):
        pictures.filtered(Blur(), [file], MOST)


def test_a_picture_of_too_many_pixels_is_refused(make_picture: Callable[..., bytes]) -> None:
    with pytest.raises(TooManyPixels):
        pictures.filtered(Blur(), [make_picture((20, 20))], 399)
