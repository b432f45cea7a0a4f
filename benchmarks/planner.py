"""Measures how long one pass of the planner takes over all models.

    python benchmarks/planner.py                          # 1,000 models of 10,000 images
    python benchmarks/planner.py --models 10 --each 100000

A pass asks which models there are, how much of each is new, and what became of its last trainings,
writes down what it decided for every one, and makes the jobs. Every model has had three trainings.
The terms of labels, one for each image, are written as they are, without the images, which nobody
reads for this; an eighth of them has ended. Then the app's handler is asked for what was decided,
in pages.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from chalice.test import Client  # noqa: E402

from benchmarks.million import server  # noqa: E402
from benchmarks.new_labels import fill  # noqa: E402
from chalicelib import wiring  # noqa: E402
from chalicelib.database import Database  # noqa: E402
from chalicelib.retrain.jobs import TrainingJobs  # noqa: E402
from chalicelib.retrain.planner import Planner  # noqa: E402
from chalicelib.settings import Settings  # noqa: E402

# Every tenth model has no version yet.
ADD_MODELS = """
INSERT INTO models (name, class_names, live_version)
SELECT 'm' || n, ARRAY['scratch'], CASE WHEN n % 10 > 0 THEN 3 END
FROM generate_series(0, %(models)s - 1) n
"""
ADD_VERSIONS = """
INSERT INTO model_versions (model, version, sha256, dataset_revision)
SELECT name, version, repeat('0', 64), 0 FROM models, generate_series(1, 3) version
WHERE live_version IS NOT NULL
"""
ADD_JOBS = """
INSERT INTO training_jobs (job_id, model, kind, state, launcher, hyperparameters, requested_by,
                           reason, epochs, dataset_revision, created_at, ended_at, outcome)
SELECT gen_random_uuid(), name, 'fine_tune', 'rejected', 'process', '{}', 'planner', 'enough', 20,
       0, now() - number * interval '1 day', now() - number * interval '1 day', 'it is worse'
FROM models, generate_series(1, 3) number
"""
LEARN = "UPDATE model_versions SET dataset_revision = %(revision)s"
TRY = "UPDATE training_jobs SET dataset_revision = %(revision)s"
CALL_OFF = "DELETE FROM training_jobs WHERE ended_at IS NULL"
SETTLE = "ANALYZE models, model_versions, training_jobs, training_plans"


def main() -> None:
    """Fill, measure, print."""
    wanted = arguments()
    rows = wanted.models * wanted.each
    with server() as url:
        fill(url, wanted.models, rows)
        database = Database(url)
        do(database, ADD_MODELS.replace("% 10", "%% 10"), models=wanted.models)
        do(database, ADD_VERSIONS)
        do(database, ADD_JOBS)
        planner = Planner(
            database, TrainingJobs(database), Settings.model_validate({"launcher": "process"})
        )
        print(f"\n| {wanted.models:,} models, {rows:,} labels | median | slowest | decided |")
        print("| --- | ---: | ---: | --- |")
        for title, revision in (
            ("nothing is new", rows),
            ("the last thousandth is new", rows - rows // 1_000),
            ("all is new", 0),
        ):
            do(database, LEARN, revision=revision)
            do(database, TRY, revision=revision)
            do(database, SETTLE)
            print(f"| {title} | {measured(database, planner, wanted.times)} |", flush=True)
        database.close()
        print(f"\n`GET /v1/training-plans`: {listed(url, wanted.times)}")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", type=int, default=1_000)
    parser.add_argument("--each", type=int, default=10_000, help="labels of a model")
    parser.add_argument("--times", type=int, default=7)
    return parser.parse_args()


def do(database: Database, statement: str, **given: int) -> None:
    """Carry out one statement."""
    with database.transaction() as rows:
        rows.execute(statement, given or None)


def measured(database: Database, planner: Planner, times: int) -> str:
    """Let the planner run some times, each as if for the first; tell how long, and what it did."""
    took = []
    for _ in range(times):
        do(database, CALL_OFF)
        begun = time.perf_counter()
        plans = planner.run()
        took.append((time.perf_counter() - begun) * 1000)
    decided = Counter(plan.decision for plan in plans)
    told = ", ".join(f"{number} {decision}" for decision, number in sorted(decided.items()))
    return f"{sorted(took)[times // 2]:.0f} ms | {max(took):.0f} ms | {told}"


def listed(url: str, rounds: int) -> str:
    """Ask the app for all plans, page by page, some times; tell how long a page took."""
    wiring.provide(wiring.Services(Settings.from_environment({"SIGHTLOOP_DATABASE_URL": url})))
    from app import app  # noqa: PLC0415 - it reads the settings when it is called first

    http, took, first = Client(app).http, [], "/v1/training-plans?limit=100"
    for _ in range(rounds):
        path, pages = first, 0
        while path:
            begun = time.perf_counter()
            told = json.loads(http.get(path).body)
            took.append((time.perf_counter() - begun) * 1000)
            path, pages = told["next"] and f"{first}&after={told['next']}", pages + 1
    median = statistics.median(took)
    return f"{pages} pages of 100; a page {median:.1f} ms, the slowest {max(took):.1f} ms"


if __name__ == "__main__":
    main()
