"""What the tests of labels share: CSVs made of plain rows, and the photos of metal tags."""

from __future__ import annotations

import bisect
import csv
import hashlib
import io
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from chalicelib.labels.fingerprint import Fingerprint, fingerprint_of
from chalicelib.labels.label_store_csv import COLUMNS

SHARED = Path(os.environ.get("SIGHTLOOP_SHARED", Path(__file__).parents[3] / "shared"))

# The tags change after these times, says the README of the photos.
TAGS_CHANGE_AFTER = ["10-15-99", "10-52-99", "10-55-01-99", "11-01-21-99", "the end"]

CsvOf = Callable[..., str]
ZipOf = Callable[..., io.BytesIO]
PLAIN = {
    "source_ref": "images/a.jpg",
    "image_width": "450",
    "image_height": "300",
    "image_depth": "3",
    "annotations": "[{'class_id': 0, 'top': 75, 'left': 45, 'width': 90, 'height': 30}]",
    "event_time": "1657198376.0",
    "labeling_job": "job",
    "status": "APPROVED",
}


@pytest.fixture
def csv_of() -> CsvOf:
    """Return a function that writes a CSV; each row says how it differs from a plain good one."""

    def write(*rows: dict[str, str]) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(PLAIN | row for row in rows)
        return text.getvalue()

    return write


@dataclass(frozen=True)
class TagPhoto:
    """A photo of a metal tag, and what its name says of when and where it was taken."""

    path: Path
    sha256: str
    fingerprint: Fingerprint
    shot: str
    group: str


@pytest.fixture(scope="session")
def tag_photos() -> list[TagPhoto]:
    """Return the photos of the shared data set; skip where it is not at hand."""
    paths = sorted((SHARED / "data/scratch/images").glob("*.jpg"))
    if not paths:
        pytest.skip("the shared photos are not here")
    return [_tag_photo(path) for path in paths]


def _tag_photo(path: Path) -> TagPhoto:
    data = path.read_bytes()
    shot, _ = path.stem.split("-cropped-")
    time = shot.removeprefix("image-2020-04-22-")
    group = TAGS_CHANGE_AFTER[bisect.bisect(TAGS_CHANGE_AFTER, time)]
    return TagPhoto(path, hashlib.sha256(data).hexdigest(), fingerprint_of(data), shot, group)


@pytest.fixture
def zip_of() -> ZipOf:
    """Return a function that zips files, given by name; a ZipInfo for a name says more."""

    def write(
        files: Mapping[str | zipfile.ZipInfo, bytes | str],
        method: int = zipfile.ZIP_DEFLATED,
    ) -> io.BytesIO:
        packed = io.BytesIO()
        with warnings.catch_warnings(), zipfile.ZipFile(packed, "w", method) as archive:
            warnings.simplefilter("ignore")  # duplicate names are meant
            for name, content in files.items():
                archive.writestr(name, content)
        return packed

    return write


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    """Return a JPEG of 32x24 pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), (90, 120, 40)).save(buffer, "JPEG")
    return buffer.getvalue()
