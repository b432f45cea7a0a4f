"""A dataset version as a folder that trainers read: images fetched, labels written, verified."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

from chalicelib.errors import InvalidManifest, ObjectNotFound
from chalicelib.labels.keys import parked_key
from chalicelib.labels.manifest import Entry, Manifest
from chalicelib.storage import ObjectStore

WORKERS = 8
AT_ONCE = 256
MOST_GONE = 0.05  # share of the images
Fetch = Callable[[Entry], bytes]


@dataclass(frozen=True)
class Materialised:
    """What lies in the folder now: images by side, and leaking or deleted ones left out."""

    data_yaml: Path
    train: int
    valid: int
    left_out: int


def materialise(manifest: Manifest, fetch: Fetch, folder: Path) -> Materialised:
    """Make a YOLO dataset of a dataset version; validation images that leak are left out.

    So are images that were deleted since: a sender may delete a photo at any time, and stops no
    training by that.

    Files that are there already and are right are kept, so that one who was interrupted goes on.
    ``data.yaml`` is written last: a folder that has one is whole.

    Parameters
    ----------
    manifest : Manifest
    fetch : callable
        Returns an image's bytes; called from several threads.
    folder : Path
        Made where it is missing.

    Returns
    -------
    Materialised
        ``images/{train,valid}/<sha256>.<extension>``, ``labels/{train,valid}/<sha256>.txt`` and
        ``data.yaml`` lie in the folder.

    Raises
    ------
    InvalidManifest
        An image is not the one that was named, or the folder holds what is not of this version.
    ObjectNotFound
        More than one image in twenty is gone: that is no deletion, but a fault.
    """
    counts = {"train": 0, "valid": 0, "left out": 0}
    gone: list[ObjectNotFound] = []
    (folder / "data.yaml").unlink(missing_ok=True)
    for side, kind in itertools.product(("train", "valid"), ("images", "labels")):
        (folder / kind / side).mkdir(parents=True, exist_ok=True)
    named: set[str] = set()
    with ThreadPoolExecutor(WORKERS) as pool:
        for some in itertools.batched(manifest, AT_ONCE):
            used = [entry for entry in some if not entry.leaking]
            done = list(pool.map(lambda entry: _try(entry, fetch, folder), used))
            gone += [each for each in done if isinstance(each, ObjectNotFound)]
            for entry, files in zip(used, done, strict=True):
                if not isinstance(files, ObjectNotFound):
                    named.update(files)
                    counts[entry.side] += 1
            counts["left out"] += len(some) - len(used)
    if len(gone) > MOST_GONE * (len(gone) + counts["train"] + counts["valid"]):
        raise gone[-1]
    counts["left out"] += len(gone)
    _refuse_others(folder, named)
    return Materialised(_describe(manifest, folder), *counts.values())


def from_store(store: ObjectStore, model: str) -> Fetch:
    """Return how to fetch a model's images from the store bucket.

    They are in its dataset's folder, pending or live; one whose label was withdrawn since the
    version was written down, or that is not there yet, is among those that are parked.
    """

    def fetch(entry: Entry) -> bytes:
        in_folder = f"{model}/images/{entry.side}/{entry.file_name}"
        keys = (
            f"models/{in_folder}",
            f"pending_models/{in_folder}",
            parked_key(model, entry.sha256, entry.extension),
        )
        for key in keys:
            try:
                return store.get(key).body
            except ObjectNotFound:
                continue
        raise ObjectNotFound(f"the image is gone: neither {' nor '.join(keys)} is there")

    return fetch


def _try(entry: Entry, fetch: Fetch, folder: Path) -> tuple[str, str] | ObjectNotFound:
    try:
        return _put(entry, fetch, folder)
    except ObjectNotFound as error:
        return error


def _put(entry: Entry, fetch: Fetch, folder: Path) -> tuple[str, str]:
    """Write an image and its label; return their names below the folder."""
    image = Path("images", entry.side, entry.file_name)
    label = Path("labels", entry.side, f"{entry.sha256}.txt")
    if not _is(folder / image, entry.sha256):
        fetched = fetch(entry)
        if hashlib.sha256(fetched).hexdigest() != entry.sha256:
            raise InvalidManifest(f"the image {entry.file_name} is not the one that was named")
        _write(folder / image, fetched)
    _write(folder / label, f"{entry.label}\n".encode() if entry.label else b"")
    return str(image), str(label)


def _is(path: Path, sha256: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except FileNotFoundError:
        return False


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    begun = path.with_name(f"{path.name}.part")
    begun.write_bytes(content)
    begun.replace(path)


def _refuse_others(folder: Path, named: set[str]) -> None:
    for kind in ("images", "labels"):
        for place, _, files in os.walk(folder / kind):
            for file in files:
                found = os.path.relpath(os.path.join(place, file), folder)  # noqa: PTH118 - a million
                if found not in named:
                    raise InvalidManifest(
                        f"{folder / found} is not of this dataset version: take an empty folder"
                    )


def _describe(manifest: Manifest, folder: Path) -> Path:
    told = {
        "path": str(folder.resolve()),
        "train": "images/train",
        "val": "images/valid",
        "nc": len(manifest.class_names),
        "names": list(manifest.class_names),
        "dataset": manifest.sha256,
    }
    path = folder / "data.yaml"
    _write(path, yaml.safe_dump(told, allow_unicode=True, sort_keys=False).encode())
    return path
