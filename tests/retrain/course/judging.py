"""Judges a training for ever: `test_lease.py` kills it.

    python tests/retrain/course/judging.py postgresql://… JOB_ID LEASE_SECONDS BEAT_SECONDS

Prints a line when it has begun.
"""

from __future__ import annotations

import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parents[3]))

from chalicelib.database import Database
from chalicelib.retrain.course import Course, Parts
from chalicelib.retrain.job import Job, Settled
from chalicelib.retrain.jobs import TrainingJobs


class Endless:
    """A gate that never comes to an end."""

    def settle(self, job: Job) -> Settled:
        print("judging", flush=True)
        while True:
            signal.pause()


def main() -> None:
    """Take a job that is trained, and judge it."""
    url, job_id, *seconds = sys.argv[1:]
    nobody: Any = None
    parts = Parts(
        jobs=TrainingJobs(Database(url)),
        store=nobody,
        orders=nobody,
        launcher=nobody,
        settler=Endless,
        remind=lambda job_id, seconds: None,
        max_seconds=60,
        now=lambda: datetime.now(UTC),
    )
    Course(parts, *map(float, seconds)).look(UUID(job_id))


if __name__ == "__main__":
    main()
