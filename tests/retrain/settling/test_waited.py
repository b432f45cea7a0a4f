"""The time from a correction to weights that serve it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytestmark = pytest.mark.stack
SERVED = datetime(2026, 11, 21, 10, 3, tzinfo=UTC)  # the third minute of the bench's clock


def correct(bench: Any, seconds: float, origin: str = "operator", side: str = "train") -> int:
    """Add an image with a label that is so old when version 2 begins to serve.

    Returns the revision of the dataset.
    """
    [(number,)] = bench.rows("SELECT count(*) FROM samples")
    bench.rows(
        """
        WITH sample AS (
            INSERT INTO samples (model, sha256, extension, width, height, side, bits, source_key)
            VALUES ('scratch', %(sha)s, 'jpg', 64, 64, %(side)s, %(bits)s, 'x')
            RETURNING sample_id
        )
        INSERT INTO labels (sample_id, yolo, boxes, origin, created_at)
        SELECT sample_id, '', 0, %(origin)s, %(at)s FROM sample
        """,
        sha=f"{number:064x}",
        side=side,
        bits=bytes(32),
        origin=origin,
        at=SERVED - timedelta(seconds=seconds),
    )
    bench.rows(
        """
        UPDATE samples s SET label_id = l.label_id FROM labels l
        WHERE l.sample_id = s.sample_id AND s.label_id IS NULL
        """
    )
    [(revision,)] = bench.rows("SELECT max(began) FROM label_terms")
    return int(revision)


def told(bench: Any, version: int) -> Any:
    return next(each for each in bench.records() if each.version == version).correction_to_serving


def test_a_version_tells_how_long_the_corrections_waited_that_it_learnt(bench: Any) -> None:
    for seconds in (60, 600):
        correct(bench, seconds, side="valid")
    revision = correct(bench, 6000)
    correct(bench, 1)  # after the dataset was cut

    bench.settlement.settle(bench.trained((0.6, 0.5), (0.4, 0.4), dataset_revision=revision))

    assert told(bench, 2) == {"labels": 3, "median_seconds": 600, "longest_seconds": 6000}


def test_what_an_earlier_version_had_learnt_is_not_counted_again(bench: Any) -> None:
    first = correct(bench, 60)
    bench.settlement.settle(bench.trained((0.6, 0.5), (0.4, 0.4), dataset_revision=first))
    second = correct(bench, 0)
    job = bench.trained((0.8, 0.8), (0.6, 0.5), base=2, dataset_revision=second)

    bench.settlement.settle(job)

    assert told(bench, 3) == {"labels": 1, "median_seconds": 120, "longest_seconds": 120}


def test_imports_are_no_corrections(bench: Any) -> None:
    revision = correct(bench, 60, origin="import")

    bench.settlement.settle(bench.trained((0.6, 0.5), (0.4, 0.4), dataset_revision=revision))

    assert bench.live() == 2
    assert told(bench, 2) is None


def test_what_was_rejected_serves_no_correction(bench: Any) -> None:
    revision = correct(bench, 60)

    bench.settlement.settle(bench.trained((0.1, 0.1), (0.4, 0.4), dataset_revision=revision))

    assert told(bench, 2) is None
