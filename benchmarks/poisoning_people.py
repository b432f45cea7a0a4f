"""People of the poisoning drill: honest ones, vandals, and attackers who plan and collude.

What honest people do is the same in every scenario: they correct photos of their own, answer up to
three tasks in a row that the service offers with its answers, and ask for a task themselves after
one photo in five where none is offered. Attackers take every task that they can get: tasks are how
trust is earned, and how a friend's photo comes into their hands.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
import requests
from PIL import Image

from local.demo.client import JSON, Api, boxes_of
from local.demo.course import Mind
from local.demo.people import (
    HEIGHT,
    WIDTH,
    Boxes,
    Seen,
    errors,
    honest,
    misclassified,
    spurious,
)
from local.demo.photos import Photo

DRIP = 0.2  # share of photos that a slow drip lies about
SETTLED_IN = 3  # accepted in a row, after which a sleeper takes itself for trusted
UPLOAD_SECONDS = 60.0
EVERYTHING = "confidence=0&iou=1&max_detections=1000"
NOTHING = "confidence=1"


@dataclass
class Gang:
    """Attackers who know each other: what each of them said of which image, by its sha256."""

    said: dict[str, Boxes] = field(default_factory=dict)


class Colluder(Mind):
    """Lies about photos of their own, and bears out friends.

    Of images that are no friend's nobody can tell which are controls. So they answer these right
    until their own submissions are accepted, and from then on spoil every second one.
    """

    asks_after = 1.0

    def __init__(self, gang: Gang) -> None:
        self._gang = gang
        self._accepted = 0

    def own(self, seen: Seen, rng: np.random.Generator) -> Boxes:
        """Tell a plausible lie."""
        return plausible_lie(seen, rng)

    def task(self, seen: Seen, sha256: str, rng: np.random.Generator) -> Boxes:
        """Say what the friend said; of others' images, what raises no suspicion yet."""
        if sha256 in self._gang.said:
            return self._gang.said[sha256]
        if self._accepted >= SETTLED_IN and rng.random() < 0.5:
            return plausible_lie(seen, rng)
        return honest(seen, rng)

    def sent(self, sha256: str, said: Boxes, state: str) -> None:
        """Tell the friends, and count what was accepted in a row."""
        self._gang.said[sha256] = said
        self._accepted = self._accepted + 1 if state == "accepted" else 0


class Sleeper(Colluder):
    """A colluder who is honest until the service accepts what they send, and lies from then on."""

    def own(self, seen: Seen, rng: np.random.Generator) -> Boxes:
        """Be honest at first."""
        trusted = self._accepted >= SETTLED_IN
        return plausible_lie(seen, rng) if trusted else honest(seen, rng)

    def task(self, seen: Seen, sha256: str, rng: np.random.Generator) -> Boxes:
        """Say what the friend said; be honest about all others."""
        friends = self._gang.said.get(sha256)
        return honest(seen, rng) if friends is None else friends


class Drip(Mind):
    """Somebody who tells one small lie in five photos, and else is honest."""

    asks_after = 1.0

    def own(self, seen: Seen, rng: np.random.Generator) -> Boxes:
        """Be honest, or leave a wrong box that was predicted, or add one."""
        if rng.random() >= DRIP:
            return honest(seen, rng)
        if errors(seen.predicted, seen.there):
            return seen.predicted
        return seen.predicted.joined(spurious(1, seen.classes, rng))


class Confirmer(Mind):
    """Somebody who confirms whatever was predicted: images are what they want to bring in."""

    def own(self, seen: Seen, rng: np.random.Generator) -> Boxes:
        """Confirm the prediction."""
        return seen.predicted


class OptionTrick(Mind):
    """Somebody who chooses what the answer is compared with, by the options of the detection.

    Parameters
    ----------
    options : {EVERYTHING, NOTHING}
        Which boxes the prediction is to hold.
    uploads : bool
        Whether the photo goes through an upload form.
    """

    def __init__(self, options: str, uploads: bool) -> None:
        self._options = options
        self._uploads = uploads

    def bring(self, api: Api, model: str, photo: Photo) -> tuple[str, Boxes]:
        """Detect with the chosen options."""
        if self._uploads:
            return uploaded(api, model, photo, self._options)
        return api.detect(model, photo.data, self._options)

    def own(self, seen: Seen, rng: np.random.Generator) -> Boxes:
        """Confirm the prediction: all of the junk, or nothing at all."""
        return seen.predicted


class Relabeller(Mind):
    """Sends images that are settled, and says of each what the gang says of it."""

    def __init__(self, gang: Gang) -> None:
        self._gang = gang

    def own(self, seen: Seen, rng: np.random.Generator) -> Boxes:
        """Tell a lie; the same for everybody of the gang, who meet the images in one order."""
        key = seen.there.xyxy.tobytes().hex()
        return self._gang.said.setdefault(key, plausible_lie(seen, rng))


def plausible_lie(seen: Seen, rng: np.random.Generator) -> Boxes:
    """Return a prediction spoiled a little: a box added, removed, or called by another name."""
    ways: list[Callable[[Seen, np.random.Generator], Boxes]] = [one_added, misclassified]
    if len(seen.predicted):
        ways.append(one_removed)
    return ways[int(rng.integers(len(ways)))](seen, rng)


def one_added(seen: Seen, rng: np.random.Generator) -> Boxes:
    """Return the prediction with one box of nothing."""
    return seen.predicted.joined(spurious(1, seen.classes, rng))


def one_removed(seen: Seen, rng: np.random.Generator) -> Boxes:
    """Return the prediction without one of its boxes."""
    kept = np.ones(len(seen.predicted), bool)
    kept[rng.integers(len(seen.predicted))] = False
    return seen.predicted.chosen(kept)


def near_duplicate(photo: Photo, rng: np.random.Generator) -> Photo:
    """Return a noisy copy of a photo: other bytes, the same picture to the eye."""
    pixels = np.asarray(Image.open(BytesIO(photo.data)), np.float64)
    noisy = np.clip(pixels + rng.normal(0, 2, pixels.shape), 0, 255)
    return Photo(_jpeg(noisy), photo.there)


def junk(rng: np.random.Generator) -> Photo:
    """Return a photo of noise: nothing is on it."""
    coarse = rng.integers(0, 255, (HEIGHT // 10, WIDTH // 10, 3)).astype(np.float64)
    nothing = Boxes(np.empty((0, 4)), np.empty(0, np.int64))
    return Photo(_jpeg(np.kron(coarse, np.ones((10, 10, 1)))), nothing)


def uploaded(api: Api, model: str, photo: Photo, options: str) -> tuple[str, Boxes]:
    """Send a photo through an upload form, with options; return the prediction's id and boxes."""
    chosen = ", ".join('"{}": {}'.format(*each.split("=")) for each in options.split("&"))
    file = '"file_name": "tag.jpg", "content_type": "image/jpeg"'
    body = f'{{"model": "{model}", {file}, "options": {{{chosen}}}}}'
    status, offered = api.post("/v1/uploads", body.encode(), JSON)
    if status != 201:
        raise RuntimeError(f"{status}: {offered}")
    form = offered["upload"]
    file_part = {"file": ("tag.jpg", photo.data)}
    requests.post(form["url"], form["fields"], files=file_part, timeout=60).raise_for_status()
    until = time.monotonic() + UPLOAD_SECONDS
    while time.monotonic() < until:
        shown = api.get(f"/v1/predictions/{offered['prediction_id']}")
        if shown["state"] == "done":
            return offered["prediction_id"], boxes_of(shown["result"]["detections"])
        time.sleep(0.1)
    raise RuntimeError(f"the upload was not looked at: {shown}")


def _jpeg(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
