"""What was found of each image while an archive was checked, kept in the store until it is placed.

A slice is one object, named after the first image that it holds: done twice, it is the same object
again. Fingerprints are most of it, 4 KB an image.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chalicelib.labels.fingerprint import WORDS, Fingerprint
from chalicelib.labels.transfers.records import staged
from chalicelib.storage import ObjectStore
from chalicelib.vision import Detections

BINARY = "application/octet-stream"


@dataclass(frozen=True, eq=False)
class Checked:
    """One sound image of an archive.

    Attributes
    ----------
    name : str
        Its path in the archive.
    sha256, extension : str
    fingerprint : Fingerprint
    detections : Detections
        The labels, in the classes of the model.
    """

    name: str
    sha256: str
    extension: str
    fingerprint: Fingerprint
    detections: Detections


def extension_of(content: bytes) -> str:
    r"""Return what a file that decodes is called in a dataset; its name may say otherwise.

    >>> extension_of(b"\xff\xd8\xff\xe0"), extension_of(b"RIFF\x24\x00\x00\x00WEBPVP8 ")
    ('jpg', 'webp')
    """
    starts = {b"\xff\xd8": "jpg", b"\x89PNG": "png", b"RIFF": "webp", b"BM": "bmp"}
    return next(name for start, name in starts.items() if content.startswith(start))


class CheckedImages:
    """The sound images of one import.

    Parameters
    ----------
    store : ObjectStore
    import_id : str
    class_names : tuple[str, ...]
        Of the model.
    """

    def __init__(self, store: ObjectStore, import_id: str, class_names: tuple[str, ...]) -> None:
        self._store, self._import_id, self._class_names = store, import_id, class_names

    def keep(self, start: int, images: Sequence[Checked]) -> None:
        """Write what was found in a slice, over what another attempt at it has left."""
        counts = np.array([len(each.detections) for each in images], np.int64)
        shifted = [each.fingerprint.shifted for each in images]
        buffer = io.BytesIO()
        np.savez(
            buffer,
            told=np.frombuffer(json.dumps([_told(each) for each in images]).encode(), np.uint8),
            shifted=np.stack(shifted) if shifted else np.zeros((0, 1, WORDS), np.uint64),
            counts=counts,
            xyxy=_joined([each.detections.xyxy for each in images], (0, 4), np.float32),
            class_id=_joined([each.detections.class_id for each in images], (0,), np.int64),
        )
        self._store.put(self._key(start), buffer.getvalue(), BINARY)

    def read(self, starts: Sequence[int]) -> Iterator[Checked]:
        """Give the images of the slices that begin so, in order."""
        for start in starts:
            body = self._store.get(self._key(start)).body
            with np.load(io.BytesIO(body), allow_pickle=False) as held:
                yield from self._slice(dict(held))

    def _slice(self, held: dict[str, Any]) -> Iterator[Checked]:
        ends = np.cumsum(held["counts"])
        for at, told in enumerate(json.loads(held["told"].tobytes())):
            rows = slice(ends[at] - held["counts"][at], ends[at])
            shifted = held["shifted"][at]
            yield Checked(
                told["name"],
                told["sha256"],
                told["extension"],
                Fingerprint(np.array(told["bits"], np.uint64), shifted),
                Detections(
                    held["xyxy"][rows],
                    np.ones(held["counts"][at], np.float32),
                    held["class_id"][rows],
                    self._class_names,
                    tuple(told["size"]),
                ),
            )

    def _key(self, start: int) -> str:
        return staged(self._import_id, f"checked/{start:08}.npz")


def _told(image: Checked) -> dict[str, Any]:
    return {
        "name": image.name,
        "sha256": image.sha256,
        "extension": image.extension,
        "bits": image.fingerprint.bits.tolist(),
        "size": image.detections.image_size,
    }


def _joined(parts: list[Any], empty: tuple[int, ...], kind: type) -> Any:
    return np.concatenate(parts) if parts else np.zeros(empty, kind)
