"""The bot's load test: chats that send photos at once, and whether each got its answer, once.

    python benchmarks/bot_load.py                              # 1,000 photos from 50 chats
    python benchmarks/bot_load.py --photos 100 --chats 5       # a quick look
    python benchmarks/bot_load.py --busy 5 --broken 2          # Telegram has a bad day
    python benchmarks/bot_load.py --captions predict "blur 8" rotate

Everything is real but for AWS and Telegram, whose stand-ins are those of ``make run``: HTTP is
served by a process of its own, workers are processes that are killed with SIGKILL while they work,
each replaced by another. The bundled model looks at drawn tags. Exits with 1 where a photo was not
answered, or more than once.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from benchmarks.bot_crowd import (  # noqa: E402
    Crowd,
    Plan,
    Town,
    Verdict,
    Webhook,
    judge,
)
from benchmarks.bot_report import report_depths, report_times, report_verdict  # noqa: E402
from benchmarks.bot_stage import Depths, Model, Stage  # noqa: E402
from local.telegram.server import Server  # noqa: E402
from sagemaker.training.drawn_tags import draw_tag  # noqa: E402

TOKEN = "7000000001:load-test"
DRAWINGS = 24
ALONE = 200
KILL_WITHIN = 1200  # seconds


def main() -> int:
    """Run the test; return the exit status."""
    wanted = arguments()
    plan = Plan(wanted.chats, wanted.photos, wanted.duplicates, wanted.reordered, wanted.captions)
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    town = Town(busy_share=wanted.busy / 100, broken_share=wanted.broken / 100)
    with ExitStack() as running:
        server = Server(town, TOKEN)
        running.callback(server.stop)
        folder = wanted.folder or running.enter_context(tempfile.TemporaryDirectory())
        stage = Stage(
            Path(folder),
            server.url,
            TOKEN,
            Model(
                (ROOT / "models/scratch/model.onnx").read_bytes(),
                (ROOT / "models/scratch/metrics.json").read_bytes(),
            ),
            workers=wanted.workers,
            hidden_seconds=wanted.hidden,
        )
        running.callback(stage.stop)
        alone = webhook_alone(town)
        crowd = Crowd(town, plan, [draw_tag(seed).image for seed in range(DRAWINGS)])
        verdict = run(stage, town, crowd, alone, wanted)
    return 0 if verdict.holds else 1


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--chats", type=int, default=50)
    add("--photos", type=int, default=1000, help="of all chats together")
    add("--duplicates", type=float, default=5, help="percent of updates that come twice")
    add("--reordered", type=float, default=5, help="percent of updates that come out of order")
    add("--kills", type=int, default=2, help="of a worker, with SIGKILL")
    add("--workers", type=int, default=2, help="processes")
    add(
        "--hidden", type=int, default=30, help="seconds until a killed worker's messages come again"
    )
    add("--captions", nargs="+", default=["predict"], help="taken in turn")
    add("--busy", type=float, default=0, help="percent of Telegram's answers that are 429")
    add("--broken", type=float, default=0, help="percent of Telegram's answers that are 502")
    add("--patience", type=float, default=180, help="seconds without any answer to give up after")
    add("--folder", help="empty; where data and logs are kept")
    return parser.parse_args()


def webhook_alone(town: Town) -> list[float]:
    """Return how many seconds the webhook took for updates that want nothing, one after another."""
    hook = Webhook(town)
    updates = [{"update_id": number} for number in range(1, ALONE + 1)]
    took = [hook.post(update)[1] for update in updates]
    hook.close()
    return took


def run(
    stage: Stage, town: Town, crowd: Crowd, alone: Sequence[float], wanted: argparse.Namespace
) -> Verdict:
    """Send, kill, wait, and report."""
    stage.wait_until_empty(wanted.patience)
    depths = Depths(stage)
    with ThreadPoolExecutor(1) as pool:
        delivery = pool.submit(crowd.deliver)
        for number in range(wanted.kills):
            count = wanted.photos * (number + 1) // (wanted.kills + 1)
            if stage.kill_a_worker(partial(crowd.has_answers, count), KILL_WITHIN):
                print(f"killed a worker at {crowd.answered()} of {wanted.photos} answers")
            else:
                print(f"NO worker was killed at {count} answers: none was at work in time")
        crowd.wait_until_answered(wanted.patience)
        delivery.result()
    emptied = stage.wait_until_empty(wanted.patience)  # what comes again must not be answered anew
    depths.stop()
    verdict = judge(town, crowd.sent)
    report_times(crowd, alone)
    report_depths(depths.seen)
    report_verdict(verdict, town, stage.dead_letters(), emptied=emptied)
    return verdict


if __name__ == "__main__":
    sys.exit(main())
