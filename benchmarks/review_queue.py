"""A page of the operators' queue, and what a member is asked about, with a PostgreSQL.

python benchmarks/review_queue.py                     # 100,000 submissions that wait
python benchmarks/review_queue.py --waiting 10000
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import psycopg2

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from benchmarks.ledger import server  # noqa: E402
from chalicelib.database import Database  # noqa: E402
from chalicelib.trust.ledger import Ledger  # noqa: E402
from chalicelib.trust.opinions import Opinions  # noqa: E402
from chalicelib.trust.waiting import QueueOrder, WaitingSubmissions  # noqa: E402

TIMES = 15
PAGE = 20
CANDIDATES = 50
FILL = """
INSERT INTO sightloop.requests (prediction_id, user_address, model, model_version, score,
                                predicted_boxes, submitted_boxes, state, detail, waits_for,
                                reviewed_at, reviewed_by)
SELECT md5(n::text || %(state)s)::uuid, 'user:' || n %% %(people)s, 'scratch', 1, 0.5, 2, 2,
       %(state)s, jsonb_build_object('image', jsonb_build_object(
           'sha256', md5((n / 3)::text), 'visibility', 'public')),
       CASE WHEN %(state)s = 'accepted' THEN NULL
            WHEN n %% 3 = 0 THEN 'proof' WHEN n %% 3 = 1 THEN 'opinions' ELSE 'operator' END,
       CASE WHEN %(state)s = 'accepted' THEN now() - make_interval(secs => n) END,
       CASE WHEN %(state)s = 'accepted' THEN 'sightloop' END
FROM generate_series(1, %(rows)s) n
"""
PROVE = """
INSERT INTO sightloop.control_standings (user_address, controls, accuracy)
SELECT 'user:' || n, 5, 0.9 FROM generate_series(0, %(people)s - 1) n
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--waiting", type=int, default=100_000)
    waiting = parser.parse_args().waiting
    people = max(waiting // 10, 1)
    with server(durable=False) as url:
        with closing(psycopg2.connect(url)) as opened, opened.cursor() as rows:
            opened.autocommit = True
            for state, count in (("quarantined", waiting), ("accepted", 2 * waiting)):
                rows.execute(FILL, {"state": state, "rows": count, "people": people})
            rows.execute(PROVE, {"people": people})
            rows.execute("VACUUM ANALYZE")
        database = Database(url)
        queue = WaitingSubmissions(database, Ledger(database))
        print(f"{waiting:,} wait, of {people:,} people; load {os.getloadavg()[0]:.1f}")
        for order in QueueOrder:
            taken = _milliseconds(partial(queue.page, order, None, PAGE))
            print(f"a page, {order.value}: {taken:.0f} ms")
        opinions = Opinions(database)
        ask = partial(opinions.waiting, "user:asked", "scratch", CANDIDATES, ["public"])
        print(f"what a member is asked about: {_milliseconds(ask):.0f} ms")
        database.close()


def _milliseconds(call: Callable[[], object]) -> float:
    """Return the median time of a call."""
    taken = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - begun))
    return statistics.median(taken)


if __name__ == "__main__":
    main()
