"""Draw boxes and readable labels onto a picture of any size."""

from __future__ import annotations

import colorsys
import functools

from PIL import Image, ImageDraw, ImageFont

from chalicelib.vision.boxes import Detections
from chalicelib.vision.image import MAX_PIXELS, decode_image, encode_jpeg

GOLDEN_ANGLE = 0.61803398875
SMALLEST_TEXT, LARGEST_TEXT, WIDEST_LINE = 11, 100, 32  # pixels
MOST_LABELS = 300  # as many as are detected by default; each takes milliseconds
MARGIN = 0.25  # around a label's text, of its height
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Colour = tuple[int, int, int]


def annotate(
    data: bytes, detections: Detections, *, max_pixels: int = MAX_PIXELS, quality: int = 90
) -> bytes:
    """Return the picture as a JPEG with the boxes drawn on it.

    Raises
    ------
    InvalidImage
        As ``decode_image`` and ``encode_jpeg``.
    """
    picture = decode_image(data, max_pixels=max_pixels)
    return encode_jpeg(draw(picture.image, detections), quality)


def draw(image: Image.Image, detections: Detections) -> Image.Image:
    """Return a copy of an RGB picture with the boxes drawn; the most confident lie on top.

    The 300 most confident have a label.
    """
    canvas = image.copy()
    pen = ImageDraw.Draw(canvas)
    line, font = _line_width(image.size), _font(_text_height(image.size))
    rows = list(zip(detections.xyxy, detections.class_id, detections.confidence, strict=True))
    for place, (xyxy, class_id, confidence) in reversed([*enumerate(rows)]):
        x1, y1, x2, y2 = (float(edge) for edge in xyxy)
        colour = class_colour(int(class_id))
        _outline(pen, (x1, y1, max(x1, x2), max(y1, y2)), colour, line)
        if place >= MOST_LABELS:
            continue
        text = _fitting(detections.class_names[class_id], confidence, font, canvas.width)
        if text:
            _label(pen, text, (x1, y1, y2), colour, font, canvas.size)
    return canvas


def class_colour(class_id: int) -> Colour:
    """Return a class's colour: always the same, and far from its neighbours'."""
    hue = (0.08 + class_id * GOLDEN_ANGLE) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def _line_width(size: tuple[int, int]) -> int:
    return max(1, min(round(max(size) / 320), min(size) // 16, WIDEST_LINE))


def _outline(
    pen: ImageDraw.ImageDraw, edges: tuple[float, float, float, float], colour: Colour, line: int
) -> None:
    """Draw a rectangle as four bars: Pillow's own takes seconds for one of 65,000 pixels."""
    x1, y1, x2, y2 = (int(edge) for edge in edges)
    inner_x, inner_y = min(x1 + line - 1, x2), min(y1 + line - 1, y2)
    outer_x, outer_y = max(x2 - line + 1, x1), max(y2 - line + 1, y1)
    for bar in (
        (x1, y1, x2, inner_y),
        (x1, outer_y, x2, y2),
        (x1, y1, inner_x, y2),
        (outer_x, y1, x2, y2),
    ):
        pen.rectangle(bar, fill=colour)


def _text_height(size: tuple[int, int]) -> int:
    """Return the size of a font that suits a picture.

    In a slender picture a long side alone would make each of 1,000 labels megapixels large.
    """
    fitting = min(round(max(size) / 45), min(size) // 4, LARGEST_TEXT)
    return max(SMALLEST_TEXT, fitting)


@functools.lru_cache(maxsize=16)
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _fitting(name: str, confidence: float, font: Font, width: int) -> str:
    """Return as much of a label as a picture of that width has room for."""
    most = f"{name} {confidence:.2f}"
    cut = (f"{name[:length].rstrip()}… {confidence:.2f}" for length in range(len(name) - 1, 1, -1))
    _, top, _, bottom = font.getbbox(most)
    room = width - 2 * max(1.0, (bottom - top) * MARGIN)
    return next(
        (text for text in (most, *cut, f"{confidence:.2f}") if font.getlength(text) <= room), ""
    )


def _label(
    pen: ImageDraw.ImageDraw,
    text: str,
    anchor: tuple[float, float, float],
    colour: Colour,
    font: Font,
    size: tuple[int, int],
) -> None:
    """Write a label above its box, or inside or below it where there is no room, never cut off."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    margin = max(1.0, (bottom - top) * MARGIN)
    width, height = right - left + 2 * margin, bottom - top + 2 * margin
    x1, y1, y2 = anchor
    x = max(0.0, min(x1, size[0] - width))
    y = next(
        (y for y in (y1 - height, y1, y2) if 0 <= y <= size[1] - height),
        max(0.0, min(y1, size[1] - height)),
    )
    pen.rectangle((x, y, x + width, y + height), fill=colour)
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
    ink = (0, 0, 0) if bright else (255, 255, 255)
    pen.text((x + margin - left, y + margin - top), text, font=font, fill=ink)
