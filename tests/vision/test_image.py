"""Bytes of strangers become upright RGB pictures, or a typed error that says why not."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from chalicelib.errors import (
    AnimatedImage,
    EmptyImage,
    InvalidImage,
    NotAnImage,
    TooManyPixels,
    TruncatedImage,
)
from chalicelib.vision import decode_image, image_size

KINDS = ("JPEG", "PNG", "WEBP", "BMP")


def pixels(data: bytes, **options) -> np.ndarray:
    return np.asarray(decode_image(data, **options).image)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width: int, height: int) -> bytes:
    """A header that promises these sides, and no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


@pytest.mark.parametrize("kind", KINDS)
def test_each_format_is_read(kind: str, photo, encode) -> None:
    image = photo(61, 40)

    picture = decode_image(
        encode(image, kind, quality=95) if kind != "BMP" else encode(image, kind)
    )

    assert picture.size == picture.image.size == (61, 40)
    assert picture.image.mode == "RGB"
    difference = np.abs(np.asarray(picture.image).astype(int) - np.asarray(image))
    assert difference.mean() < (4 if kind in {"JPEG", "WEBP"} else 1e-9)


def test_lossless_webp_is_read_exactly(photo, encode) -> None:
    image = photo(33, 21)

    assert np.array_equal(pixels(encode(image, "WEBP", lossless=True)), np.asarray(image))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_alpha_is_dropped_not_blended(kind: str, photo, encode) -> None:
    image = photo(20, 10)
    clear = image.copy()
    clear.putalpha(Image.linear_gradient("L").resize((20, 10)))

    data = encode(clear, kind, lossless=True, exact=True) if kind == "WEBP" else encode(clear, kind)

    assert np.array_equal(pixels(data), np.asarray(image))


def test_a_palette_is_resolved(photo, encode) -> None:
    image = photo(20, 10).quantize(16)

    assert np.array_equal(pixels(encode(image)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("transparency", [3, bytes(range(0, 256, 16))])
def test_a_palette_with_transparency_is_resolved(transparency, photo, encode) -> None:
    image = photo(20, 10).quantize(16)

    data = encode(image, "PNG", transparency=transparency)

    assert np.array_equal(pixels(data), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("kind", KINDS)
def test_grey_becomes_rgb(kind: str, photo, encode) -> None:
    grey = photo(24, 16).convert("L")

    got = pixels(encode(grey, kind))

    assert got.shape == (16, 24, 3)
    assert (np.ptp(got.astype(int), axis=2) <= 1).all()
    assert np.abs(got[..., 1].astype(int) - np.asarray(grey)).mean() < 4


@pytest.mark.parametrize("mode", ["1", "LA"])
@pytest.mark.parametrize("value", [0, 255])
def test_bilevel_and_grey_with_alpha_become_rgb(mode: str, value: int, encode) -> None:
    image = Image.new("L", (9, 5), value).convert(mode)

    assert (pixels(encode(image)) == value).all()


def test_of_16_bit_grey_the_high_byte_stays(encode) -> None:
    deep = np.arange(65536, dtype=np.uint16)[::8].reshape(64, 128)

    got = pixels(encode(Image.fromarray(deep)))

    assert np.array_equal(got[..., 0], deep >> 8)
    assert np.array_equal(got[..., 2], deep >> 8)


def test_of_16_bit_rgb_the_high_byte_stays() -> None:
    row = struct.pack(">B6H", 0, 0x1234, 0xFFFF, 0x00FF, 0x8000, 0x7FFF, 0x0100)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(row)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)

    assert pixels(data).tolist() == [[[0x12, 0xFF, 0x00], [0x80, 0x7F, 0x01]]]


def test_a_cmyk_jpeg_is_read(photo, encode) -> None:
    image = photo(32, 24)

    got = pixels(encode(image.convert("CMYK"), "JPEG", quality=95))

    assert np.abs(got.astype(int) - np.asarray(image)).mean() < 8


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_every_kind_of_jpeg_is_read(progressive, subsampling, photo, encode) -> None:
    image = photo(50, 37)

    data = encode(image, "JPEG", quality=95, progressive=progressive, subsampling=subsampling)

    assert np.abs(pixels(data).astype(int) - np.asarray(image)).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_each_orientation_is_turned_upright(orientation: int, kind: str, photo, encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photo(48, 32), kind, exif=exif)

    picture = decode_image(data)

    upright = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    assert picture.size == upright.size
    assert np.array_equal(np.asarray(picture.image), np.asarray(upright.convert("RGB")))


@pytest.mark.parametrize("orientation", [None, *range(10), 65535])
@pytest.mark.parametrize("kind", [*KINDS, "MPO"])
def test_the_size_by_the_header_is_that_of_the_decoded_picture(
    orientation: int | None, kind: str, photo, encode
) -> None:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    options = {} if kind == "BMP" else {"exif": exif}

    data = encode(photo(48, 32), kind, **options)

    assert image_size(data) == decode_image(data).size


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])  # a WebP is opened whole or not at all
def test_for_the_size_no_pixels_are_needed(kind: str, photo, encode) -> None:
    broken = encode(photo(200, 150), kind)[:1000]

    assert image_size(broken) == (200, 150)
    with pytest.raises(TruncatedImage):
        decode_image(broken)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_upright(orientation: int, photo, encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation

    assert decode_image(encode(photo(48, 32), "JPEG", exif=exif)).size == (48, 32)


@pytest.mark.filterwarnings("ignore:.*EXIF")
def test_a_broken_exif_is_upright(photo, encode) -> None:
    data = encode(photo(48, 32), "JPEG", exif=b"Exif\x00\x00II*\x00garbage")

    assert decode_image(data).size == (48, 32)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animated_picture_is_refused(kind: str, photo, encode) -> None:
    data = encode(photo(9, 9), kind, save_all=True, append_images=[photo(9, 9, 1)])

    for read in (decode_image, image_size):
        with pytest.raises(AnimatedImage, match="one frame"):
            read(data)


def test_a_phones_mpo_is_read_as_its_first_picture(photo, encode) -> None:
    image = photo(40, 30)
    data = encode(image, "MPO", save_all=True, append_images=[photo(20, 15, 1)], quality=95)

    picture = decode_image(data)

    assert picture.size == (40, 30)
    assert np.abs(np.asarray(picture.image).astype(int) - np.asarray(image)).mean() < 4


def test_no_bytes_are_an_empty_image() -> None:
    for read in (decode_image, image_size):
        with pytest.raises(EmptyImage, match="no bytes"):
            read(b"")


@pytest.mark.parametrize(("width", "height"), [(0, 9), (9, 0), (0, 0)])
def test_a_picture_without_pixels_is_an_empty_image(width, height, encode) -> None:
    bitmap = bytearray(encode(Image.new("RGB", (9, 9)), "BMP"))
    bitmap[18:26] = struct.pack("<ii", width, height)

    for data in (png_of(width, height), bytes(bitmap)):
        with pytest.raises(EmptyImage, match="zero"):
            decode_image(data)


def test_a_jpeg_without_pixels_is_refused(encode) -> None:
    data = bytearray(encode(Image.new("RGB", (9, 9)), "JPEG"))
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = bytes(4)

    with pytest.raises(InvalidImage):
        decode_image(bytes(data))


@pytest.mark.parametrize(
    "data",
    [b"\x00", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\xff\xd8\xff", b"BM"],
)
def test_other_bytes_are_no_image(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        decode_image(data)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM", "ICO"])
def test_formats_that_were_not_asked_for_are_refused(kind: str, encode) -> None:
    with pytest.raises(NotAnImage, match="JPEG, PNG, WebP or BMP"):
        decode_image(encode(Image.new("RGB", (16, 16)), kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_picture_that_breaks_off_is_refused(kind: str, share: float, photo, encode) -> None:
    data = encode(photo(200, 150), kind)

    with pytest.raises(TruncatedImage):
        decode_image(data[: int(len(data) * share)])


def test_the_pixel_limit_is_judged_by_the_header() -> None:
    with pytest.raises(TooManyPixels, match="limit of 80000000 pixels: scale it down"):
        decode_image(png_of(20_000, 10_000))
    with pytest.raises(TooManyPixels, match="over the limit"):
        decode_image(png_of(9_000, 9_000))


def test_the_pixel_limit_can_be_chosen(photo, encode) -> None:
    data = encode(photo(20, 10))

    assert decode_image(data, max_pixels=200).size == (20, 10)
    for read in (decode_image, image_size):
        with pytest.raises(TooManyPixels, match="20x10 pixels, over the limit of 199"):
            read(data, max_pixels=199)


def test_a_bomb_of_zeros_is_refused_before_it_unfolds() -> None:
    rows = zlib.compress(bytes(60_000 * 10), 9) * 10
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)

    with pytest.raises(TooManyPixels):
        decode_image(data)


@pytest.mark.parametrize("name", [b"zTXt", b"iCCP"])
def test_a_bomb_in_metadata_is_never_unpacked(name: bytes, encode) -> None:
    data = encode(Image.new("RGB", (9, 9)))
    bomb = png_chunk(name, b"Comment\x00\x00" + zlib.compress(bytes(200_000_000), 9))

    tracemalloc.start()
    picture = decode_image(data[:33] + bomb + data[33:])

    assert picture.size == (9, 9)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_exif_whose_entries_all_point_at_megabytes_costs_nothing(photo, encode) -> None:
    entries = b"".join(struct.pack("<HHII", tag, 7, 2_000_000, 8) for tag in range(60_000))
    exif = b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", 60_000) + entries + bytes(2_000_000)
    data = encode(photo(48, 32))

    assert decode_image(data[:33] + png_chunk(b"eXIf", exif) + data[33:]).size == (48, 32)


@pytest.mark.parametrize("size", [(1, 79_999_999), (65_536, 1), (1, 65_536)])
def test_a_side_over_the_limit_is_refused_by_the_header(size: tuple[int, int]) -> None:
    for read in (decode_image, image_size):
        with pytest.raises(TooManyPixels, match="over the limit of 65535: scale it down"):
            read(png_of(*size))


@pytest.mark.parametrize("size", [(65_535, 1), (1, 65_535)])
def test_a_slender_picture_within_the_limit_is_read(size: tuple[int, int], encode) -> None:
    assert decode_image(encode(Image.new("RGB", size))).size == size


@pytest.mark.parametrize("name", [b"IHDR", b"IDAT", b"IEND"])
def test_a_png_with_a_wrong_checksum_is_refused(name: bytes, photo, encode) -> None:
    data = bytearray(encode(photo(48, 32)))
    at = data.index(name) - 4
    data[at + 8 + int.from_bytes(data[at : at + 4])] ^= 0xFF

    with pytest.raises(InvalidImage):
        decode_image(bytes(data))


def test_a_png_whose_pixels_cannot_be_unpacked_is_refused() -> None:
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", bytes(200)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)

    with pytest.raises(TruncatedImage):
        decode_image(data)


def test_a_jpeg_of_a_thousand_scans_is_refused(encode) -> None:
    data = encode(Image.new("L", (64, 64), 128), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")

    with pytest.raises(InvalidImage, match="more than 100 scans"):
        decode_image(data[:-2] + data[last:-2] * 1000 + data[-2:])


@pytest.mark.parametrize("interval", [0, 1])
def test_fill_bytes_in_a_scan_change_no_pixel_and_are_not_kept(interval: int, encode) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    plain = encode(Image.fromarray(noise), "JPEG", quality=98, restart_marker_blocks=interval)
    start = plain.index(b"\xff\xda") + 14
    assert (b"\xff\xd0" in plain[start:]) == bool(interval)
    filled = plain[:start] + plain[start:].replace(b"\xff", b"\xff" * 1000)
    assert len(filled) > len(plain) + 10_000

    assert np.array_equal(pixels(filled), pixels(plain))
    assert decode_image(filled).jpeg == decode_image(plain).jpeg


def test_a_webp_whose_headers_contradict_is_refused(photo, encode) -> None:
    data = bytearray(encode(photo(48, 32).convert("RGBA"), "WEBP", exif=Image.Exif().tobytes()))
    assert data[12:16] == b"VP8X"
    data[24:27] = (999).to_bytes(3, "little")

    with pytest.raises(TruncatedImage, match="headers"):
        decode_image(bytes(data))


def test_a_large_jpeg_is_decoded_reduced_where_that_is_enough(photo, encode) -> None:
    image = photo(3200, 2400)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(image, "JPEG", exif=exif)

    reduced, whole = decode_image(data, enough=640), decode_image(data)

    assert reduced.size == whole.size == whole.image.size == (2400, 3200)
    assert reduced.image.size == (1200, 1600)
    again = whole.image.resize(reduced.image.size, Image.Resampling.BOX)
    assert np.abs(np.asarray(again).astype(int) - np.asarray(reduced.image)).mean() < 2


def test_a_smaller_jpeg_and_a_large_png_are_decoded_whole(photo, encode) -> None:
    assert decode_image(encode(photo(1600, 1200), "JPEG"), enough=64).image.size == (1600, 1200)
    flat = Image.new("RGB", (3200, 2400))
    assert decode_image(encode(flat, "PNG"), enough=64).image.size == (3200, 2400)


OPENCV_AGREES = {
    "jpeg": ("RGB", "JPEG", {"quality": 90}),
    "jpeg grey": ("L", "JPEG", {}),
    "jpeg progressive": ("RGB", "JPEG", {"progressive": True, "subsampling": "4:2:2"}),
    "png": ("RGB", "PNG", {}),
    "png alpha": ("RGBA", "PNG", {}),
    "png palette": ("P", "PNG", {"transparency": 1}),
    "png grey": ("L", "PNG", {}),
    "png bilevel": ("1", "PNG", {}),
    "png 16 bit": ("I;16", "PNG", {}),
    "webp": ("RGB", "WEBP", {"quality": 80}),
    "webp alpha": ("RGBA", "WEBP", {"lossless": True}),
    "bmp": ("RGB", "BMP", {}),
}


@pytest.mark.training
@pytest.mark.parametrize("kind", OPENCV_AGREES)
def test_pixels_are_those_that_opencv_reads(kind: str, photo, encode) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV comes with requirements-training.txt")
    mode, file_format, options = OPENCV_AGREES[kind]
    image = photo(61, 43).convert("L") if mode == "I;16" else photo(61, 43)
    for orientation in (1, 6) if file_format != "BMP" else (1,):
        exif = Image.Exif()
        exif[0x0112] = orientation
        more = options | ({"exif": exif} if orientation != 1 else {})
        data = encode(image.convert(mode), file_format, **more)

        expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]

        assert np.array_equal(pixels(data), expected)
