"""The picture of the demo: what the model found on the same photos before and after."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from local.demo.measure import Found

GAP, HEAD = 12, 40
GROUND, INK = (24, 26, 30), (235, 235, 235)
TRUE_COLOUR, FOUND_COLOUR = (60, 190, 90), (240, 60, 40)
SURE = 0.25  # confidence from which the service shows a box


def before_and_after(
    photos: Sequence[bytes],
    columns: Sequence[tuple[str, Sequence[Found]]],
    path: Path,
) -> None:
    """Draw one row a photo and one column a version; what is there green, what is found red.

    Parameters
    ----------
    photos : sequence of bytes
        The files.
    columns : sequence of (title, what was found on each photo)
    path : Path
        Of the PNG file to write.
    """
    images = [Image.open(BytesIO(each)).convert("RGB") for each in photos]
    width, height = images[0].size
    size = (GAP + (width + GAP) * len(columns), HEAD + (height + GAP) * len(images))
    sheet = Image.new("RGB", size, GROUND)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(18)
    for column, (title, found) in enumerate(columns):
        left = GAP + column * (width + GAP)
        pen.text((left, GAP - 2), title, INK, font)
        for row, (image, each) in enumerate(zip(images, found, strict=True)):
            sheet.paste(_drawn(image, each), (left, HEAD + row * (height + GAP)))
    sheet.save(path)


def _drawn(image: Image.Image, found: Found) -> Image.Image:
    canvas = image.copy()
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for box in found.there.xyxy.tolist():
        pen.rectangle(box, outline=TRUE_COLOUR, width=1)
    sure = found.confidence >= SURE
    for box, confidence in zip(
        found.predicted.xyxy[sure].tolist(), found.confidence[sure].tolist(), strict=True
    ):
        pen.rectangle(box, outline=FOUND_COLOUR, width=2)
        at = (box[0] + 3, max(box[1] - 16, 0))
        pen.text(at, f"{confidence:.0%}", FOUND_COLOUR, font, stroke_width=2, stroke_fill="white")
    return canvas
