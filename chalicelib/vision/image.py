"""From bytes that a stranger sent to an upright RGB picture, or a typed error that says why not."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from chalicelib.errors import (
    EmptyImage,
    InvalidImage,
    NotAnImage,
    TooManyPixels,
    TruncatedImage,
)
from chalicelib.vision.metadata import SOI, StrippedFile, strip_metadata, with_orientation

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
MAX_PIXELS = 80_000_000
JPEG_LONGEST_SIDE = 65_500  # libjpeg's, of what it encodes
LONGEST_SIDE = 65_535  # JPEG's limit; Pillow allocates memory row by row, 80,000,000 rows for 50 s
DRAFT_FROM_PIXELS = 6_000_000  # smaller JPEGs are decoded whole: it costs little and is exact
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
KEPT_BLOCKS = 4  # of 16 MiB
BMP = b"BM"
BEST_QUALITY = 95  # of JPEG
QUICK = 1  # of PNG's levels of compression, 0..9
DRAFT_MARGIN = 1.5  # a reduced JPEG stays this much larger than what the network sees

# Everything that Pillow's decoders have been seen to raise on damaged bytes.
DECODER_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    SystemError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = frozenset({5, 6, 7, 8})


@dataclass(frozen=True)
class Picture:
    """An upright RGB picture.

    Attributes
    ----------
    image : PIL.Image.Image
        Mode RGB; may be reduced by a power of two where ``decode_image`` was told it may.
    size : tuple[int, int]
        Width and height in pixels of the upright original; boxes refer to these.
    jpeg : bytes or None
        The very bytes that were decoded, without metadata, where they are a JPEG that shows
        ``image``: to be kept without another loss of quality.
    """

    image: Image.Image
    size: tuple[int, int]
    jpeg: bytes | None = None


def keep_memory() -> None:
    """Let Pillow keep the memory of a decoded picture of up to 16 megapixels for the next one.

    Getting it from the operating system anew costs some 15 ms for 12 megapixels. This is what
    PILLOW_BLOCKS_MAX sets from outside; it holds for the whole process.
    """
    Image.core.set_blocks_max(KEPT_BLOCKS)  # type: ignore[attr-defined]  # it has no other name


def decode_image(
    data: bytes, *, max_pixels: int = MAX_PIXELS, enough: int | None = None
) -> Picture:
    """Decode JPEG, PNG, WebP or BMP bytes, turned upright by their EXIF orientation.

    Colour is what OpenCV's ``imread`` gives: alpha is dropped, 16-bit samples keep their high byte,
    greyscale and palettes become RGB, colour profiles are not applied.

    Parameters
    ----------
    data : bytes
    max_pixels : int
        Refuse more, judged by the header, before a pixel is decoded.
    enough : int, optional
        The longest side in pixels that is of use. A JPEG of more than 6 megapixels is then decoded
        reduced by 2, 4 or 8 (``draft``), to no less than 1.5 times that.

    Raises
    ------
    EmptyImage, NotAnImage, TruncatedImage, AnimatedImage, TooManyPixels, InvalidImage
    """
    file, opened = _open(data, max_pixels)
    if file.fault:
        raise TruncatedImage(f"the image breaks off or is corrupt: {file.fault}")
    stored = opened.size
    jpeg = _needs_no_encoding(file, opened)
    try:
        if enough and opened.format == "JPEG":
            _draft(opened, enough)
        rgb = _to_rgb(opened)
    except BOMBS as error:
        raise TooManyPixels(str(error)) from error
    except DECODER_FAULTS as error:
        raise TruncatedImage(f"the image breaks off or is corrupt: {error}") from error
    del opened  # two copies of a large picture are enough
    if file.orientation in UPRIGHT:
        rgb = rgb.transpose(UPRIGHT[file.orientation])
    rgb.info.clear()
    return Picture(rgb, _upright(stored, file.orientation), file.data if jpeg else None)


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """Return a picture as a JPEG file without metadata.

    Parameters
    ----------
    image : PIL.Image.Image
        Mode RGB, as ``decode_image`` returns it or made of that.
    quality : int
        1..95.

    Raises
    ------
    InvalidImage
        A side is longer than the encoder takes.
    """
    if max(image.size) > JPEG_LONGEST_SIDE:
        raise InvalidImage(
            f"a side of the image has {max(image.size)} pixels: "
            f"more than {JPEG_LONGEST_SIDE} do not fit into a JPEG"
        )
    image.info.clear()  # Pillow would write a comment that it finds there
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def file_without_metadata(data: bytes, *, max_pixels: int = MAX_PIXELS) -> bytes:
    """Return an image file of the same pixels, without metadata but an EXIF orientation.

    JPEG, PNG and WebP files keep their coded pixels. A BMP becomes a PNG of the same pixels, for
    bytes can be anywhere in it; a JPEG without a proper end is encoded again. The file that is
    returned comes back as it is when it is passed again.

    Parameters
    ----------
    data : bytes
        A file that ``decode_image`` takes.
    max_pixels : int
        Refuse more.

    Raises
    ------
    EmptyImage, NotAnImage, TruncatedImage, AnimatedImage, TooManyPixels, InvalidImage
    """
    file, opened = _open(data, max_pixels)
    if file.data.startswith(SOI) and not file.is_sound_jpeg:
        return encode_jpeg(decode_image(data, max_pixels=max_pixels).image, BEST_QUALITY)
    if not file.data.startswith(BMP):
        return with_orientation(file, opened.size)
    buffer = BytesIO()
    image = decode_image(data, max_pixels=max_pixels).image
    image.save(buffer, "PNG", compress_level=QUICK)
    return buffer.getvalue()


def image_size(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return the width and height of the upright picture, by its header: that of ``decode_image``.

    Parameters
    ----------
    data : bytes
    max_pixels : int
        Refuse more.

    Raises
    ------
    EmptyImage, NotAnImage, AnimatedImage, TooManyPixels, InvalidImage
    TruncatedImage
        Its header is corrupt; whether its pixels are is not looked at.
    """
    file, opened = _open(data, max_pixels)
    return _upright(opened.size, file.orientation)


def _upright(stored: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return width and height after the turn that an orientation wants."""
    return stored[::-1] if orientation in SIDEWAYS else stored


def _open(data: bytes, max_pixels: int) -> tuple[StrippedFile, Image.Image]:
    """Read the header, and refuse what is not to be decoded."""
    if not data:
        raise EmptyImage("the image has no bytes: send a JPEG, PNG, WebP or BMP file")
    file = strip_metadata(data)
    opened = _identify(file.data, max_pixels)
    _check(opened.size, file.canvas, max_pixels)
    return file, opened


def _identify(data: bytes, max_pixels: int) -> Image.Image:
    try:
        return Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        if _has_no_pixels(data):
            raise EmptyImage("a side of the image is zero pixels") from None
        raise NotAnImage("the bytes are no JPEG, PNG, WebP or BMP image") from None
    except BOMBS as error:
        raise TooManyPixels(
            f"the image has far over the limit of {max_pixels} pixels: scale it down"
        ) from error
    except DECODER_FAULTS as error:
        raise TruncatedImage(f"the image's header is corrupt: {error}") from error


def _has_no_pixels(data: bytes) -> bool:
    """Say whether a header that Pillow refused gives the picture a side of zero pixels."""
    if data.startswith(b"\x89PNG") and data[12:16] == b"IHDR" and len(data) >= 24:
        return 0 in struct.unpack(">II", data[16:24])
    if data.startswith(b"BM") and len(data) >= 26:
        return 0 in struct.unpack("<ii", data[18:26])
    return False


def _check(size: tuple[int, int], canvas: tuple[int, int] | None, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise TooManyPixels(
            f"the image has {width}x{height} pixels, over the limit of {max_pixels}: scale it down"
        )
    if max(size) > LONGEST_SIDE:
        raise TooManyPixels(
            f"a side of the image has {max(size)} pixels, over the limit of {LONGEST_SIDE}: "
            "scale it down"
        )
    if canvas and canvas != size:
        raise TruncatedImage(f"the image is corrupt: its headers say both {size} and {canvas}")


def _needs_no_encoding(file: StrippedFile, opened: Image.Image) -> bool:
    """Return whether the stripped file is a JPEG that shows the upright picture in its colours."""
    return file.is_sound_jpeg and opened.mode in {"RGB", "L"} and file.orientation == 1


def _draft(opened: Image.Image, enough: int) -> None:
    """Let a large JPEG be decoded at a half, a quarter or an eighth of its size."""
    width, height = opened.size
    if width * height > DRAFT_FROM_PIXELS:
        least = enough * DRAFT_MARGIN / max(width, height)
        opened.draft("RGB", (max(1, int(width * least)), max(1, int(height * least))))


def _to_rgb(opened: Image.Image) -> Image.Image:
    """Decode all pixels into mode RGB."""
    opened.load()
    if opened.mode == "RGB":
        return opened
    if opened.mode.startswith("I"):
        high_byte = np.asarray(opened) >> 8
        return Image.fromarray(high_byte.clip(0, 255).astype(np.uint8)).convert("RGB")
    return opened.convert("RGB")
