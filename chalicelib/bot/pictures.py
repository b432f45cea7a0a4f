"""Pictures for a chat: what a filter makes of one, and what Telegram takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from chalicelib.bot import filters
from chalicelib.bot.captions import Blur, Concat, Contour, Filter, Rotate, SaltAndPepper, Segment
from chalicelib.bot.filters import Pixels
from chalicelib.vision import decode_image, encode_jpeg

QUALITY = 90
LONGEST_SIDES = 10_000  # width and height together
MOST_SLENDER = 20
LARGEST_PHOTO = 10_000_000  # bytes
SMALLER = 0.7
JOINED_PIXELS = 12_000_000  # of each photo: ten of them have to be in memory at once


def filtered(wish: Filter, files: Sequence[bytes], max_pixels: int) -> bytes:
    """Do what is wanted with pictures' files, and return the outcome as a JPEG for Telegram.

    Raises
    ------
    InvalidImage
        One of them is no picture, or has more pixels than allowed.
    """
    most = JOINED_PIXELS if isinstance(wish, Concat) else max_pixels
    pictures = [_pixels(file, max_pixels, most) for file in files]
    return for_telegram(Image.fromarray(apply(wish, pictures)))


def for_telegram(image: Image.Image) -> bytes:
    """Return a JPEG that Telegram takes as a photo.

    Its sides add up to at most 10,000 pixels, none is 20 times the other (white is put beside a
    slender picture), and it has at most 10 MB.
    """
    fitting = _less_slender(_reduced(image, LONGEST_SIDES / sum(image.size)))
    while len(jpeg := encode_jpeg(fitting, QUALITY)) > LARGEST_PHOTO:
        fitting = _reduced(fitting, SMALLER)
    return jpeg


def refit(jpeg: bytes) -> bytes:
    """Return a JPEG file as it is, or made so that Telegram takes it."""
    with Image.open(BytesIO(jpeg)) as image:
        long, short = max(image.size), min(image.size)
        fits = long + short <= LONGEST_SIDES and long <= MOST_SLENDER * short
        return jpeg if fits and len(jpeg) <= LARGEST_PHOTO else for_telegram(image.convert("RGB"))


def apply(wish: Filter, pictures: Sequence[Pixels]) -> Pixels:
    """Return what a filter makes of pictures: all but `concat` take one."""
    match wish:
        case Blur(level):
            return filters.blur(pictures[0], level)
        case Contour():
            return filters.contour(pictures[0])
        case Rotate(clockwise):
            return filters.rotate(pictures[0], clockwise)
        case SaltAndPepper(proportion):
            return filters.salt_and_pepper(pictures[0], proportion)
        case Segment():
            return filters.segment(pictures[0])
        case Concat(direction, first_at_start):
            return filters.concat(pictures, direction, first_at_start)


def _pixels(file: bytes, max_pixels: int, most: int) -> Pixels:
    """Return a file's pixels, at most so many of them."""
    image = decode_image(file, max_pixels=max_pixels).image
    return np.asarray(_reduced(image, math.sqrt(most / (image.width * image.height))))


def _reduced(image: Image.Image, factor: float) -> Image.Image:
    if factor >= 1:
        return image
    size = tuple(max(1, int(side * factor)) for side in image.size)
    return image.resize((size[0], size[1]), Image.Resampling.LANCZOS)


def _less_slender(image: Image.Image) -> Image.Image:
    least = -(-max(image.size) // MOST_SLENDER)
    size = (max(image.width, least), max(image.height, least))
    if size == image.size:
        return image
    wider = Image.new("RGB", size, "white")
    wider.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return wider
