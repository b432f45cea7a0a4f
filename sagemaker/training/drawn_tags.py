"""Draw photos of scratched metal tags, with their labels: for demos, tests and pretraining.

A drawn photo imitates an inspection camera's: a dark tag with a bright hole before a white
background, bright solid or broken scratches (labelled), faint hairlines and specks (not labelled).

    python sagemaker/training/drawn_tags.py OUT_DIR --count 8 --seed 0

writes ``OUT_DIR/images/tag-0001.jpg`` and ``OUT_DIR/labels/tag-0001.txt`` (YOLO: class cx cy w h,
normalised to 0..1; class 0 is ``scratch``) and a ``data.yaml``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 450, 300
OVERSAMPLING = 2
CLASS_NAMES = ("scratch",)

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DrawnTag:
    """One drawn photo and the truth about it.

    Attributes
    ----------
    image : PIL.Image.Image
        RGB.
    xyxy : float64 [N, 4]
        Boxes of the scratches in pixels, as an annotator would draw them: with some margin.
    """

    image: Image.Image
    xyxy: npt.NDArray[np.float64]

    def to_yolo(self) -> str:
        """Return the labels, one ``class cx cy w h`` a line, normalised to 0..1."""
        scale = np.array([self.image.width, self.image.height] * 2)
        x1, y1, x2, y2 = (self.xyxy / scale).T
        rows = np.column_stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])
        return "".join(f"0 {cx:.6f} {cy:.6f} {w:.6f} {h:.6f}\n" for cx, cy, w, h in rows)


@dataclass(frozen=True)
class _Tag:
    """Where the tag lies in the photo, in pixels, and how bright it is (0..255)."""

    left: float
    top: float
    right: float
    bottom: float
    grey: float


def draw_tag(seed: int, scratches: int | None = None, margin: float = 1.0) -> DrawnTag:
    """Draw one photo of 450 x 300 pixels.

    Parameters
    ----------
    seed : int
        Same seed, same photo.
    scratches : int, optional
        How many scratches; drawn by lot (0 to 4, mostly 2) where not given.
    margin : float
        How wide the boxes stand off the scratches: 1 for some 5 pixels, in proportion otherwise.
    """
    rng = np.random.default_rng(seed)
    tag = _place_tag(rng)
    canvas = _background(rng, tag)
    _texture(rng, canvas, tag)
    layer = Image.new("L", (WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING), 0)
    pen = ImageDraw.Draw(layer)
    _distract(rng, pen, tag)
    count = int(rng.choice(5, p=[0.05, 0.22, 0.48, 0.18, 0.07])) if scratches is None else scratches
    boxes = [_scratch(rng, pen, tag, margin) for _ in range(count)]
    light = np.asarray(layer.resize((WIDTH, HEIGHT), Image.Resampling.BOX), np.float64)
    canvas = np.maximum(canvas, light * (light > 8) + canvas * (light <= 8))
    return DrawnTag(_develop(rng, canvas), np.array(boxes, np.float64).reshape(-1, 4))


def _place_tag(rng: np.random.Generator) -> _Tag:
    left, top = rng.uniform(8, 36), rng.uniform(20, 45)
    return _Tag(
        left,
        top,
        left + rng.uniform(385, 405),
        top + rng.uniform(238, 254),
        rng.uniform(55, 95),
    )


def _background(rng: np.random.Generator, tag: _Tag) -> npt.NDArray[np.float64]:
    """Paint white, the fixtures that hold the tag, the tag and its hole."""
    image = Image.new("L", (WIDTH, HEIGHT), int(rng.integers(244, 256)))
    pen = ImageDraw.Draw(image)
    for top, bottom in ((0.0, tag.top), (tag.bottom, float(HEIGHT))):
        if rng.random() < 0.85:
            _fixture(rng, pen, top, bottom)
    grey = int(tag.grey)
    pen.rounded_rectangle((tag.left, tag.top, tag.right, tag.bottom), int(rng.integers(2, 8)), grey)
    if rng.random() < 0.4:
        pen.rectangle((tag.left, tag.top + 4, tag.left + rng.integers(3, 9), tag.bottom - 4), 20)
    radius, inset = rng.uniform(7, 11), rng.uniform(18, 30)
    x = tag.left + inset if rng.random() < 0.7 else tag.right - inset
    y = tag.top + inset if rng.random() < 0.7 else tag.bottom - inset
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), 255)
    turned = image.rotate(rng.uniform(-1.5, 1.5), Image.Resampling.BILINEAR, fillcolor=252)
    return np.asarray(turned.filter(ImageFilter.GaussianBlur(0.6)), np.float64).copy()


def _fixture(rng: np.random.Generator, pen: ImageDraw.ImageDraw, top: float, bottom: float) -> None:
    left = rng.uniform(60, 220)
    for _ in range(int(rng.integers(1, 5))):
        right = left + rng.uniform(10, 90)
        pen.rectangle((left, top, right, bottom), int(rng.integers(60, 240)))
        left = right
    for _ in range(int(rng.integers(0, 4))):
        y = rng.uniform(top, bottom)
        pen.line((rng.uniform(40, 200), y, left, y), int(rng.integers(30, 200)), 1)


def _texture(rng: np.random.Generator, canvas: npt.NDArray[np.float64], tag: _Tag) -> None:
    """Add brushed-metal lines, a light gradient and smudges, in place."""
    rows = rng.normal(0, rng.uniform(0.5, 2.5), (HEIGHT, 1))
    grain = rng.normal(0, rng.uniform(1, 3), (HEIGHT, WIDTH))
    slope = np.linspace(-1, 1, WIDTH) * rng.uniform(-8, 8)
    band = np.zeros(WIDTH)
    if rng.random() < 0.4:
        start = int(rng.integers(0, WIDTH - 60))
        band[start : start + int(rng.integers(30, 120))] = rng.uniform(-12, 8)
    canvas += np.where(canvas < 140, rows + grain + slope + band, grain * 0.4)
    ys, xs = np.mgrid[0:HEIGHT, 0:WIDTH]
    for _ in range(int(rng.integers(0, 5))):
        x, y = rng.uniform(tag.left, tag.right), rng.uniform(tag.top, tag.bottom)
        size = rng.uniform(8, 40)
        bump = np.exp(-(((xs - x) / size) ** 2 + ((ys - y) / size) ** 2))
        canvas += np.where(canvas < 140, bump * rng.uniform(3, 14), 0)


def _curve(rng: np.random.Generator, tag: _Tag, length: float, bend: float) -> Points:
    """Return the points [M, 2] of a gently bent line that stays on the tag."""
    angle = rng.uniform(0, np.pi)
    direction = np.array([np.cos(angle), np.sin(angle)])
    normal = np.array([-direction[1], direction[0]])
    t = np.linspace(-0.5, 0.5, max(int(length), 4))[:, None]
    sway = rng.uniform(-bend, bend) * length * (0.25 - t**2)
    wobble = np.cumsum(rng.normal(0, 0.12, (len(t), 1)), axis=0)
    path = t * length * direction + (sway + wobble) * normal
    low = np.array([tag.left + 6, tag.top + 6]) - path.min(axis=0)
    high = np.array([tag.right - 6, tag.bottom - 6]) - path.max(axis=0)
    spread = rng.beta(1.6, 1.6, 2)
    points: Points = path + low + (high - low) * spread
    return points


def _gaps(rng: np.random.Generator, count: int, broken: float) -> npt.NDArray[np.bool_]:
    """Return which of ``count`` points carry ink: runs of ink and gaps; ``broken`` in 0..1."""
    ink = np.ones(count, bool)
    at = int(rng.integers(2, 8))
    while at < count:
        gap = 1 + int(rng.exponential(1 + 4 * broken))
        ink[at : at + gap] = False
        at += gap + 1 + int(rng.exponential(2 + 14 * (1 - broken)))
    return ink


def _stroke(
    rng: np.random.Generator,
    pen: ImageDraw.ImageDraw,
    points: Points,
    width: float,
    grey: float,
    broken: float,
) -> Points:
    """Draw a line of a width in pixels and return the points that carry ink."""
    ink = _gaps(rng, len(points), broken) if broken else np.ones(len(points), bool)
    thickness = width * np.clip(1 + 0.25 * rng.normal(size=len(points)), 0.5, 1.6)
    shade = np.clip(grey + rng.normal(0, 12, len(points)), 20, 255).astype(int)
    scaled = points * OVERSAMPLING
    for index in np.flatnonzero(ink[:-1]):
        radius = thickness[index] * OVERSAMPLING / 2
        (x1, y1), (x2, y2) = scaled[index], scaled[index + 1]
        pen.line((x1, y1, x2, y2), int(shade[index]), max(round(2 * radius), 1))
        if radius > 1:
            pen.ellipse((x1 - radius, y1 - radius, x1 + radius, y1 + radius), int(shade[index]))
    inked: Points = points[ink]
    return inked if len(inked) else points


def _scratch(
    rng: np.random.Generator, pen: ImageDraw.ImageDraw, tag: _Tag, margin: float
) -> list[float]:
    """Draw one scratch and return its box as an annotator would draw it, xyxy in pixels."""
    length = float(np.clip(rng.lognormal(4.45, 0.5), 14, 220))
    path = _curve(rng, tag, length, 0.35 if rng.random() < 0.5 else 0.1)
    solid = rng.random() < 0.45
    broken = 0.0 if solid else rng.uniform(0.1, 1)
    faint = rng.random() < 0.08
    grey = rng.uniform(120, 180) if faint else rng.uniform(190, 270)
    width = rng.uniform(1.0, 2.0) if faint else rng.uniform(1.6, 3.6)
    inked = [_stroke(rng, pen, path, width, grey, broken)]
    if rng.random() < 0.12:
        inked.extend(
            _stroke(rng, pen, path + rng.uniform(-9, 9, 2), width * 0.7, grey, max(broken, 0.5))
            for _ in range(int(rng.integers(1, 4)))
        )
    if rng.random() < 0.12:
        _stroke(rng, pen, _tail(rng, path), 1.0, rng.uniform(100, 150), 0.0)
    every = np.concatenate(inked)
    apart = margin * (np.abs(rng.normal(0, 3.2, 4)) + rng.uniform(1, 6))
    low, high = every.min(axis=0) - apart[:2], every.max(axis=0) + apart[2:]
    box = np.clip(np.concatenate([low, high]), 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
    return [float(edge) for edge in box]


def _tail(rng: np.random.Generator, path: Points) -> Points:
    """Return the faint line by which a scratch runs out: not labelled."""
    step = (path[-1] - path[-min(len(path), 8)]) / 7
    steps = np.arange(int(rng.integers(20, 90)))[:, None]
    tail: Points = path[-1] + steps * step
    return tail


def _distract(rng: np.random.Generator, pen: ImageDraw.ImageDraw, tag: _Tag) -> None:
    """Draw what is on real tags and is not labelled: hairlines and specks."""
    for _ in range(int(rng.integers(0, 14))):
        path = _curve(rng, tag, rng.uniform(8, 60), 0.6)
        _stroke(rng, pen, path, 0.6, tag.grey + rng.uniform(25, 60), rng.uniform(0, 0.6))
    for _ in range(int(rng.poisson(0.5))):
        path = _curve(rng, tag, rng.uniform(50, 170), 0.4)
        _stroke(rng, pen, path, rng.uniform(0.8, 1.4), tag.grey + rng.uniform(25, 80), 0.0)
    for _ in range(int(rng.integers(0, 25))):
        x = rng.uniform(tag.left, tag.right) * OVERSAMPLING
        y = rng.uniform(tag.top, tag.bottom) * OVERSAMPLING
        r = rng.uniform(0.5, 2)
        pen.ellipse((x - r, y - r, x + r, y + r), int(min(tag.grey + rng.uniform(20, 120), 255)))


def _develop(rng: np.random.Generator, canvas: npt.NDArray[np.float64]) -> Image.Image:
    """Apply the camera: gamma, blur and JPEG."""
    exposed = 255 * np.clip(canvas / 255, 0, 1) ** rng.uniform(0.85, 1.15)
    image = Image.fromarray(exposed.astype(np.uint8), "L")
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.8)))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(70, 96)))
    return Image.open(buffer).convert("RGB")


def write_dataset(
    folder: Path,
    count: int,
    seed: int = 0,
    margin: float = 1.0,
    scratches: int | None = None,
) -> Path:
    """Write ``count`` photos and labels below a folder and return the path of its ``data.yaml``.

    ``seed`` is the first photo's; ``margin`` and ``scratches`` as for ``draw_tag``.
    """
    for sub in ("images", "labels"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        drawn = draw_tag(seed + index, scratches, margin)
        stem = f"tag-{index + 1:04}"
        drawn.image.save(folder / "images" / f"{stem}.jpg", quality=92)
        (folder / "labels" / f"{stem}.txt").write_text(drawn.to_yolo(), encoding="utf-8")
    described = folder / "data.yaml"
    described.write_text(
        "train: images\nval: images\nnames:\n  0: scratch\n",
        encoding="utf-8",
    )
    return described


def main() -> None:
    """Write a folder of drawn photos."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--margin", type=float, default=1.0, help="of the boxes: 1 is some 5 pixels"
    )
    parser.add_argument("--scratches", type=int, help="on each tag; drawn by lot where not given")
    given = parser.parse_args()
    print(write_dataset(given.folder, given.count, given.seed, given.margin, given.scratches))


if __name__ == "__main__":
    main()
