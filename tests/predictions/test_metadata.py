"""What is kept of a photo tells nothing of who took it, and shows the pixels that were decoded."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from benchmarks.fuzz import check
from chalicelib.bot.captions import Blur, Rotate
from chalicelib.bot.pictures import filtered
from chalicelib.errors import InvalidImage
from chalicelib.predictions.keys import annotated_key, image_key
from chalicelib.predictions.pictures import pictures_of
from chalicelib.vision import Detections, decode_image, draw, encode_jpeg
from chalicelib.vision.metadata import strip_metadata

QueuePath = Any
SECRET = b"SecretCam 48.2082 by Ann"
GRAIN = np.random.default_rng(0).integers(0, 256, (61, 83, 3), np.uint8)
MAX_PIXELS = 1_000_000
# Tables, a frame and scans: all that a JPEG's pixels need; and JFIF of a fixed content.
NEEDED = {0xC0, 0xC1, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD}
JFIF = b"JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
ADOBE = b"Adobe\x00\x64\x00\x00\x00\x00"


def segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """List marker and content of each segment of a JPEG, and fail where anything else is in it."""
    assert jpeg[:2] == b"\xff\xd8"
    place = 2
    while jpeg[place : place + 2] != b"\xff\xd9":
        assert jpeg[place] == 0xFF
        code, length = jpeg[place + 1], int.from_bytes(jpeg[place + 2 : place + 4])
        yield code, jpeg[place + 4 : place + 2 + length]
        place += 2 + length
        while code == 0xDA and (
            jpeg[place] != 0xFF or jpeg[place + 1] == 0 or 0xD0 <= jpeg[place + 1] <= 0xD7
        ):
            place += 1
    assert place + 2 == len(jpeg), "something follows the end"


def assert_bare(jpeg: bytes) -> None:
    assert SECRET not in jpeg
    for code, content in segments(jpeg):
        is_colour_space = (code == 0xE0 and content == JFIF) or (
            code == 0xEE and content[:-1] == ADOBE
        )
        assert code in NEEDED or is_colour_space, f"segment {code:#x}: {content[:40]!r}"


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0110], exif[0x0112] = SECRET.decode(), orientation
    exif.get_ifd(0x8825)[2] = (48.2082, 0.0, 0.0)
    return exif.tobytes()


def profile() -> bytes:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb + SECRET


def segment(code: int, content: bytes) -> bytes:
    return bytes((0xFF, code)) + (len(content) + 2).to_bytes(2) + content


def jpeg_with(where: str, mode: str, orientation: int) -> bytes:
    options: dict[str, Any] = {
        "exif": {"exif": exif_of(orientation)},
        "profile": {"icc_profile": profile()},
        "comment": {"comment": SECRET},
        "xmp": {"xmp": SECRET},
    }.get(where, {})
    options.setdefault("exif", exif_of(orientation))
    buffer = io.BytesIO()
    pixels, kind = Image.fromarray(GRAIN).convert(mode), "JPEG"
    if where == "second picture":
        kind, options["save_all"] = "MPO", True
        options["append_images"] = [Image.new("RGB", (8, 8))]
    elif where == "progressive":
        options["progressive"] = True
    pixels.save(buffer, kind, **options)
    data = buffer.getvalue()
    number = {f"APP{n}": 0xE0 + n for n in range(16)}.get(where)
    if number is not None:
        data = data[:2] + segment(number, SECRET) + data[2:]
    if where == "JFIF thumbnail":
        thumb = (SECRET * 1)[:24]
        data = data[:2] + segment(0xE0, JFIF[:-2] + b"\x04\x02" + thumb) + data[2:]
    if where == "between scans":
        last = data.rindex(b"\xff\xda")
        data = data[:last] + segment(0xFE, SECRET) + segment(0xE1, SECRET) + data[last:]
    return data + (SECRET if where == "behind the end" else b"")


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_with(where: str, mode: str, orientation: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(GRAIN).convert(mode).save(buffer, "PNG", exif=exif_of(orientation))
    data = buffer.getvalue()
    packed = zlib.compress(SECRET)
    body = {
        b"tEXt": b"Comment\x00" + SECRET,
        b"zTXt": b"Comment\x00\x00" + packed,
        b"iTXt": b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + SECRET,
        b"iCCP": b"p\x00\x00" + zlib.compress(profile()),
    }.get(where.encode(), SECRET)
    if where == "behind the end":
        return data + SECRET
    if where == "after the pixels":
        return data[:-12] + chunk(b"tEXt", b"Comment\x00" + SECRET) + data[-12:]
    return data[:33] + chunk(where.encode(), body) + data[33:]


def webp_with(where: str, mode: str, orientation: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(GRAIN).convert(mode).save(
        buffer,
        "WEBP",
        lossless=True,
        exif=exif_of(orientation),
        xmp=SECRET,
        icc_profile=profile(),
    )
    data = buffer.getvalue()
    if where == "behind the end":
        return data + SECRET
    more = where.encode() + len(SECRET).to_bytes(4, "little") + SECRET
    return data[:4] + (len(data) + len(more) - 8).to_bytes(4, "little") + data[8:] + more


def bmp_with(where: str, mode: str, orientation: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(GRAIN).convert(mode).save(buffer, "BMP")
    return buffer.getvalue() + SECRET


JPEG_PLACES = [
    *(f"APP{n}" for n in range(16)),
    *("exif", "profile", "comment", "xmp", "second picture", "progressive", "JFIF thumbnail"),
    *("between scans", "behind the end"),
]
PNG_PLACES = ["tEXt", "zTXt", "iTXt", "iCCP", "eXIf", "tIME", "prVt", "sPLT", "gAMA"]
CASES = [
    *((jpeg_with, place, mode) for place in JPEG_PLACES for mode in ("RGB", "L", "CMYK")),
    *(
        (png_with, place, mode)
        for place in [*PNG_PLACES, "after the pixels", "behind the end"]
        for mode in ("RGB", "RGBA", "L", "P")
    ),
    *(
        (webp_with, place, mode)
        for place in ("EXIF", "ABCD", "behind the end")
        for mode in ("RGB", "RGBA")
    ),
    *((bmp_with, "behind the end", mode) for mode in ("RGB", "P")),
]


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("make", "place", "mode"), CASES, ids=lambda part: getattr(part, "__name__", part)
)
def test_nothing_that_is_made_of_a_picture_has_metadata(
    make: Any, place: str, mode: str, orientation: int
) -> None:
    data = make(place, mode, orientation)
    picture = decode_image(data)
    nothing = Detections.empty(("scratch",), picture.size)
    turned = orientation == 6 and make is not bmp_with

    made = pictures_of(picture, nothing)

    assert picture.size == ((61, 83) if turned else (83, 61))
    assert_bare(made.image)
    assert_bare(made.annotated)
    assert_bare(encode_jpeg(draw(picture.image, nothing), 75))
    assert_bare(filtered(Rotate(90), [data], MAX_PIXELS))
    assert decode_image(made.image).size == decode_image(made.annotated).size == picture.size


@pytest.mark.parametrize("make", [jpeg_with, png_with, webp_with, bmp_with])
@pytest.mark.parametrize("orientation", [1, 6])
def test_nothing_in_the_store_has_metadata_whichever_way_it_came(
    path: QueuePath, make: Any, orientation: int
) -> None:
    data = make("behind the end", "RGB", orientation)
    services = path.services
    options = path.services.settings.max_pixels
    uploaded = [path.send(data), path.send(data, model="bolts", unseen=True)]
    assert path.work() == []
    look = services.inference.look("scratch", data, _options(options))
    kept = [services.keeper.keep(look, "a-call"), services.keeper.keep_unseen("b", data, "a-call")]

    for prediction_id in [*uploaded, *(each.prediction_id for each in kept)]:
        assert_bare(path.stored(image_key(prediction_id)))
        assert_bare(path.stored(annotated_key(prediction_id)))


def _options(max_pixels: int) -> Any:
    from chalicelib.vision import DetectionOptions  # noqa: PLC0415

    return DetectionOptions(max_pixels=max_pixels)


def pixels(jpeg: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(jpeg)))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"restart_marker_blocks": 3},
        {"subsampling": 0, "quality": 100},
        {"keep_rgb": True},
    ],
    ids=str,
)
def test_an_upright_jpeg_is_kept_without_another_loss(mode: str, options: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    comment = {"comment": SECRET, "exif": exif_of(1), "icc_profile": profile()}
    Image.fromarray(GRAIN).convert(mode).save(buffer, "JPEG", **comment, **options)
    whole = buffer.getvalue() + SECRET

    kept = decode_image(whole).jpeg

    assert kept is not None
    assert_bare(kept)
    assert (pixels(kept) == pixels(whole)).all()


def test_what_is_kept_of_a_picture_is_kept_again_byte_for_byte() -> None:
    kept = decode_image(jpeg_with("exif", "RGB", 1)).jpeg

    assert kept is not None
    assert decode_image(kept).jpeg == kept


def _bad_stream() -> bytes:
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    pixels = bytearray(zlib.compress(GRAIN.tobytes() * 2))
    pixels[0] = 0xFF
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*each) for each in ((b"IHDR", header), (b"IDAT", bytes(pixels)), (b"IEND", b""))
    )


def _damaged(at: int) -> bytes:
    data = bytearray(png_with("tEXt", "RGB", 1))
    data[at] ^= 0xFF
    return bytes(data)


@pytest.mark.parametrize("data", [_bad_stream(), _damaged(-40), png_with("tIME", "RGB", 1)[:-16]])
def test_a_broken_png_has_one_verdict_whichever_way_it_comes(path: QueuePath, data: bytes) -> None:
    assert not check(data)
    for make in (
        lambda: path.services.inference.look("scratch", data, _options(MAX_PIXELS)),
        lambda: path.services.keeper.keep_unseen("bolts", data, "a-call"),
        lambda: filtered(Blur(), [data], MAX_PIXELS),
    ):
        with pytest.raises(InvalidImage):
            make()
    prediction_id = path.send(data)
    assert path.work() == []
    assert path.record(prediction_id).problem.title == "Truncated image"


def test_fill_bytes_are_read_in_linear_time() -> None:
    """2 MB of them took hours while the search for markers began anew at each."""
    scan = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00")

    stripped = strip_metadata(b"\xff\xd8" + scan + b"\xff" * 2_000_000 + b"\x00" + b"\xff\xff\xd9")

    assert stripped.data == b"\xff\xd8" + scan + b"\xff\x00" + b"\xff\xd9"
