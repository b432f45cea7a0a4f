"""A label store's CSV to hand to the tests, made of plain rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest

from chalicelib.labels.label_store_csv import COLUMNS

CsvOf = Callable[..., str]
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
