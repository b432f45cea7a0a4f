"""What the bot's load test says: times, depths of the queues, and the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from benchmarks.bot_crowd import Crowd, Town, Verdict

BARS = " ▁▂▃▄▅▆▇█"
COLUMNS = 60
SHARES = (50, 90, 95, 99, 100)
NAMED = 20

Seen = Sequence[tuple[float, dict[str, int]]]


def report_times(crowd: Crowd, alone: Sequence[float]) -> None:
    """Tell the throughput, and percentiles of what everybody waited for."""
    waits = crowd.waits()
    if waits:
        took = max(end for _, end in waits) - min(begin for begin, _ in waits)
        print(f"\n{len(waits)} answers in {took:.1f} s: {len(waits) / took:.1f} a second")
    print(f"\n| {'':42} | {' | '.join(f'{f"p{share}":>8}' for share in SHARES)} |")
    print(f"| --- | {' | '.join(['---:'] * len(SHARES))} |")
    _row("photo to answer, s", [end - begin for begin, end in waits], 1)
    posts = [seconds for seconds, _ in crowd.posts]
    _row("webhook's answer under this load, ms", posts, 1000)
    _row("webhook's answer before, one by one, ms", alone, 1000)
    refused = Counter(status for _, status in crowd.posts if status != 200)
    print(f"\n{len(posts)} deliveries to the webhook, not taken at once: {dict(refused) or 'none'}")


def _row(what: str, seconds: Sequence[float], factor: float) -> None:
    values = np.percentile(np.array(seconds) * factor, SHARES) if seconds else np.zeros(0)
    print(f"| {what:42} | {' | '.join(f'{value:8.1f}' for value in values)} |")


def report_depths(seen: Seen) -> None:
    """Draw how many messages were in each queue over time, and name the most."""
    step = max(1, -(-len(seen) // COLUMNS))
    print(f"\nmessages in each queue, from 0 to {seen[-1][0]:.0f} s:\n")
    for queue in seen[0][1]:
        depths = [depth[queue] for _, depth in seen]
        most = max(depths)
        columns = [max(depths[at : at + step]) for at in range(0, len(depths), step)]
        bars = "".join(BARS[-(-depth * (len(BARS) - 1) // max(1, most))] for depth in columns)
        print(f"    {queue:9} {bars:{COLUMNS}} at most {most}")


def report_verdict(verdict: Verdict, town: Town, dead_letters: int, *, emptied: bool) -> None:
    """Tell who was not answered, or more than once, by name, and what else is amiss."""
    print(f"\ncalls of the Bot API: {dict(town.calls)}")
    repeated = sum(len(times) - 1 for times in town.answered.values())
    print(f"pictures that were put into their message again: {repeated}")
    print(f"dead letters: {dead_letters}{'' if emptied else '; the queues did not get empty'}")
    for what, named in vars(verdict).items():
        print(f"{what.replace('_', ' ')}: {len(named)}")
        for name in named[:NAMED]:
            print(f"    {name}")
    print("every photo was answered once" if verdict.holds else "NOT every photo was answered once")
