"""The poisoning drill: honest people and vandals correct photos through the API, and what becomes.

    python benchmarks/poisoning.py                  # all parts; half an hour
    python benchmarks/poisoning.py --part crowd     # 20 honest and 5 vandals, 2,000 submissions
    python benchmarks/poisoning.py --part attacks   # each kind of attack at 1, 5 and 20 %
    python benchmarks/poisoning.py --part tasks     # each with and without control tasks
    python benchmarks/poisoning.py --submissions 200 --people 0.2   # a quick look

It starts the one-machine stack in a folder of its own: the API is asked over HTTP, the triggers
count in a real PostgreSQL, bans reach the API as they do elsewhere. Nobody reviews: what waits for
a person stays out of the dataset. Photos, people and their order are drawn from fixed seeds.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from benchmarks.poisoning_course import (  # noqa: E402
    Course,
    Person,
    Stage,
    auc,
    corrected,
    in_turn,
    photographed,
)
from benchmarks.poisoning_tasks import tasks  # noqa: E402
from local.demo.people import ATTACKS, CLASSES, VANDALS, Answer, honest  # noqa: E402

HONEST = 20
SHARES = (0.01, 0.05, 0.2)
PEOPLE = 100
HONEST_SENDS, HOSTILE_SENDS = 2, 15


def crowd(on: Stage, submissions: int) -> None:
    """Run twenty honest people and five vandals, and report."""
    vandals = [
        Person(f"vandal-{kind.replace(' ', '-')}", how, kind) for kind, how in VANDALS.items()
    ]
    everybody = [Person(f"honest-{n}", honest) for n in range(HONEST)] + vandals
    people = in_turn(everybody, [submissions // len(everybody)] * len(everybody), 1)
    on.publish("crowd")
    begun = time.perf_counter()
    course = corrected(on, "crowd", people, photographed(on, "crowd", people))
    took = time.perf_counter() - begun
    print(f"\n## {HONEST} honest people, {len(vandals)} vandals, {len(people)} submissions")
    print("\n| vandal | sent | refused | accepted | waiting | banned after |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for person in vandals:
        print(_row_of(course, person))
    _summary(course, everybody)
    print(f"- {took:.0f} s, detections included")


def _row_of(course: Course, person: Person) -> str:
    sent = course.of(person)
    states = Counter(each.state for each in sent)
    refused = sum(each.status == 403 for each in sent)
    after = course.banned.get(person.name, "–")
    row = (person.kind, len(sent), refused, states["accepted"], states["quarantined"], after)
    return f"| {' | '.join(map(str, row))} |"


def _summary(course: Course, everybody: Sequence[Person]) -> None:
    honest_ones = [person for person in everybody if not person.is_hostile]
    sent = [each for each in course.sent if not each.person.is_hostile]
    waits = sum(each.state == "quarantined" for each in sent) / max(len(sent), 1)
    lost = [person.name for person in honest_ones if person.name in course.banned]
    print(f"\n- honest people banned: {len(lost)} of {len(honest_ones)} {lost or ''}")
    print(f"- honest submissions that wait for a person: {waits:.1%}")
    print(f"- poison in the dataset: {course.poison[-1]:.2%} at the end ({course.poisoned} of")
    print(f"  {course.images} images), {max(course.poison):.2%} at worst")
    print(f"- honest labels with an error of their own: {course.honest_errors}")
    print(f"- ROC AUC of the score: {auc(course):.3f}")


def attacks(on: Stage, size: float) -> None:
    """Run each kind of attack at each share of hostile users, and report."""
    people = round(PEOPLE * size)
    print(
        f"\n## {people} people; an honest one sends {HONEST_SENDS}, a hostile one {HOSTILE_SENDS}"
    )
    print(
        "\n| attack | hostile | of submissions | banned | after | honest banned | accepted | "
        "poison at worst | at the end | AUC |\n|" + " --- |" + " ---: |" * 9
    )
    for kind, how in ATTACKS.items():
        for share in SHARES:
            print(_attack(on, kind, how, share, people), flush=True)


def _attack(on: Stage, kind: str, how: Answer, share: float, size: int) -> str:
    model = f"{kind.replace(' ', '-')}-{round(100 * share)}"
    number = max(round(share * size), 1)
    hostile = [Person(f"{model}-hostile-{n}", how, kind) for n in range(number)]
    honest_ones = [Person(f"{model}-honest-{n}", honest) for n in range(size - number)]
    sends = [HOSTILE_SENDS] * number + [HONEST_SENDS] * (size - number)
    people = in_turn([*hostile, *honest_ones], sends, 2)
    on.publish(model)
    course = corrected(on, model, people, photographed(on, model, people))
    theirs = [each for each in course.sent if each.person.is_hostile]
    accepted = sum(each.state == "accepted" and each.was_wrong for each in theirs)
    after = [course.banned[person.name] for person in hostile if person.name in course.banned]
    cells = (
        kind,
        f"{share:.0%}",
        f"{len(theirs) / len(course.sent):.0%}",
        f"{len(after)} of {number}",
        f"{np.median(after):.0f}" if after else "–",
        sum(person.name in course.banned for person in honest_ones),
        f"{accepted / len(theirs):.0%}",
        f"{max(course.poison):.2%}",
        f"{course.poison[-1]:.2%}",
        f"{auc(course):.3f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


@contextmanager
def running(home: Path | None, both_classes: bool) -> Iterator[Stage]:
    """Run the service in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        on = Stage(home or Path(folder) / "home", both_classes)
        try:
            yield on
        finally:
            on.stop()


def main() -> None:
    """Run the drill and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--part", choices=("crowd", "attacks", "tasks", "all"), default="all")
    parser.add_argument("--submissions", type=int, default=2000, help="of the crowd")
    parser.add_argument(
        "--people", type=float, default=1.0, help="share of the hundred, of attacks and tasks"
    )
    parser.add_argument(
        "--shares", type=float, nargs="+", default=[0.05, 0.2], help="of hostile users, with tasks"
    )
    parser.add_argument("--home", type=Path, help="the data folder, to be kept")
    parser.add_argument("--both-classes", action="store_true", help="have boxes of both classes")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; classes {CLASSES}")
    with running(given.home, given.both_classes) as on:
        if given.part in ("crowd", "all"):
            crowd(on, given.submissions)
        if given.part in ("attacks", "all"):
            attacks(on, given.people)
        if given.part in ("tasks", "all"):
            tasks(on, round(PEOPLE * given.people), given.shares)


if __name__ == "__main__":
    main()
