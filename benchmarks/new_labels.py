"""Measures how soon all models are told how many of their images are new since they were trained.

    python benchmarks/new_labels.py                          # 1,000 models of 10,000 images
    python benchmarks/new_labels.py --models 10 --each 100000 --plan

The planner asks it of every model every half hour, and the page of all models whenever somebody
looks. The terms of labels are written as they are, without the images, which nobody reads for this;
an eighth of them has ended.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

import psycopg2  # noqa: E402

from benchmarks.million import server  # noqa: E402
from chalicelib.database import Database  # noqa: E402
from chalicelib.labels.sizes import MOST_COUNTED, NEW_SINCE, DatasetSizes, Sizes  # noqa: E402

ENOUGH = Sizes(16, 4)
# The models in turn, as images come in; every fifth is one to measure on.
FILL = """
INSERT INTO label_terms (sample_id, label_id, began, ended, model, side)
SELECT n, n, n, CASE WHEN n / %(models)s %% 8 = 7 THEN n + 1 END, 'm' || n %% %(models)s,
       CASE WHEN n / %(models)s %% 5 = 4 THEN 'valid' ELSE 'train' END
FROM generate_series(1, %(rows)s) n
"""


def main() -> None:
    """Fill, measure, print."""
    wanted = arguments()
    rows = wanted.models * wanted.each
    with server() as url:
        fill(url, wanted.models, rows)
        sizes = DatasetSizes(Database(url))
        models = [f"m{number}" for number in range(wanted.models)]
        print(f"\n| {wanted.models:,} models, {rows:,} labels | enough | up to 1,000 |")
        print("| --- | ---: | ---: |")
        for title, revision in (
            ("all is new", None),
            ("the last tenth is new", rows - rows // 10),
            ("nothing is new", rows),
        ):
            asked: dict[str, int | None] = dict.fromkeys(models, revision)
            medians = [
                median(partial(sizes.new_since, asked, most), wanted.times)
                for most in (ENOUGH, MOST_COUNTED)
            ]
            print(f"| {title} | {medians[0]:.1f} ms | {medians[1]:.1f} ms |", flush=True)
        if wanted.plan:
            print_plan(url, models)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", type=int, default=1_000)
    parser.add_argument("--each", type=int, default=10_000, help="labels of a model")
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument("--plan", action="store_true", help="print how PostgreSQL does it")
    return parser.parse_args()


def fill(url: str, models: int, rows: int) -> None:
    """Write the terms, without what they refer to."""
    begun = time.perf_counter()
    options = "-c search_path=sightloop -c session_replication_role=replica"
    with closing(psycopg2.connect(url, options=options)) as held:
        held.autocommit = True
        with held.cursor() as written:
            written.execute(FILL, {"models": models, "rows": rows})
            written.execute("VACUUM ANALYZE label_terms")
    print(f"filled in {time.perf_counter() - begun:.0f} s")


def median(call: Callable[[], object], times: int) -> float:
    """Return how many milliseconds a call takes, as the median of some."""
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        took.append((time.perf_counter() - begun) * 1000)
    return statistics.median(took)


def print_plan(url: str, models: list[str]) -> None:
    """Print the plan, as it was carried out."""
    given = {"models": models, "revisions": [0] * len(models), "training": 16, "validation": 4}
    options = "-c search_path=sightloop"
    with closing(psycopg2.connect(url, options=options)) as held, held.cursor() as rows:
        rows.execute(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {NEW_SINCE}", given)
        print("\n".join(line for (line,) in rows.fetchall()))


if __name__ == "__main__":
    main()
