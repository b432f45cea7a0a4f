"""One round of the demo: people send, the operator looks, the schedule fires, a training runs."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from local.demo import crowd, report
from local.demo.course import Course, Person, Sent
from local.demo.measure import Found, Precision, precision
from local.demo.photos import Photo
from local.demo.stage import Stage
from local.errors import LocalError

TOLD_EVERY = 5  # epochs
SHOWN = 6
HEADER = (
    "round",
    "photos",
    "honest counted alone",
    "poison",
    "caught",
    "vandals banned",
    "honest banned",
    "trained on",
    "mAP50 before → after",
    "mAP50-95 before → after",
    "gate",
)


@dataclass(frozen=True)
class Measured:
    """A version of the model on the photos that were kept apart.

    Attributes
    ----------
    shown : list of Found
        What people would see on those of ``to_show``.
    """

    version: int
    shown: list[Found]
    precision: Precision

    @classmethod
    def now(cls, on: Stage, photos: Sequence[Photo]) -> Measured:
        """Measure what serves now."""
        shown = on.found(to_show(photos), query="")
        return cls(on.live_version(), shown, precision(on.found(photos)))


def to_show(photos: Sequence[Photo]) -> list[Photo]:
    """Return the first photos that show something, unchosen otherwise."""
    return [each for each in photos if len(each.there)][:SHOWN]


@dataclass(frozen=True)
class Round:
    """What happened in one round.

    Attributes
    ----------
    sent : list of Sent
        About photos that people brought themselves.
    banned : list of Person
        Of those who sent, by now.
    job : dict
        As the API shows it at its end.
    wrong : list of Sent
        Whose labels the job was given, though they are wrong.
    images : int
        In the job's version of the dataset, both sides.
    """

    number: int
    sent: list[Sent]
    banned: list[Person]
    before: Measured
    after: Measured
    job: dict[str, Any]
    wrong: list[Sent]
    images: int

    def row(self) -> tuple[str, ...]:
        """Return the round as a row below ``HEADER``."""
        vandals = {each.person for each in self.sent if each.person.is_hostile}
        lost = sum(not each.is_hostile for each in self.banned)
        honest = [each for each in self.sent if not each.person.is_hostile]
        poison = sum(crowd.is_poison(each) for each in self.sent)
        caught = poison - sum(crowd.is_poison(each) for each in self.wrong)
        one, other = self.before.precision, self.after.precision
        return (
            str(self.number),
            str(len(self.sent)),
            f"{sum(report.is_soon(each) for each in honest)} of {len(honest)}",
            str(poison),
            f"{caught} ({caught / max(poison, 1):.0%})",
            f"{len(self.banned) - lost} of {len(vandals)}",
            str(lost),
            str(self.images),
            f"{one.map50:.3f} → {other.map50:.3f}",
            f"{one.map50_95:.3f} → {other.map50_95:.3f}",
            self.job["state"],
        )


def play(
    on: Stage, course: Course, number: int, before: Measured, held_out: Sequence[Photo]
) -> Round:
    """Play one round and report it.

    Raises
    ------
    LocalError
        The planner does not train, or the training ended without the gate's word.
    """
    people = crowd.crowd(number, on.run)
    sent = _send(course, number, people)
    own = [each for each in sent if each.kind == "own"]
    names = course.service.records.banned()
    banned = [person for person in people if person.user in names]
    _report_people(course, sent, banned)
    _review(on, course)
    job = _train(on)
    labels = on.labels_of(job)
    after = Measured.now(on, held_out) if job["state"] == "promoted" else before
    wrong = [each for each in own if crowd.is_wrong_in(labels, each, course.truth)]
    return Round(number, own, banned, before, after, job, wrong, len(labels))


def _send(course: Course, number: int, people: Sequence[Person]) -> list[Sent]:
    """Let people send their photos and answer tasks; return what they sent, tasks included."""
    begun, first, turns = time.monotonic(), len(course.sent), crowd.turns(people, number)
    print(f"\nRound {number}: {len(people)} people correct {len(turns)} photos", flush=True)
    done = itertools.count(1)
    course.on_turn = lambda: progress(f"  {next(done)} of {len(turns)} photos corrected")
    course.play(turns)
    course.return_once_more(people)
    progress("")
    print(f"  took {time.monotonic() - begun:.0f} s, tasks included")
    return course.sent[first:]


def _report_people(course: Course, sent: Sequence[Sent], banned: Sequence[Person]) -> None:
    lines = [*report.honest(course, sent), report.tasks(sent)]
    lines += report.vandals(course, sent, banned)
    lines += [
        f"{person.name} is honest, and was banned all the same"
        for person in banned
        if not person.is_hostile
    ]
    print("\n".join(f"  {line}" for line in lines), flush=True)


def _review(on: Stage, course: Course) -> None:
    accepted, rejected = crowd.review(on.operator, course.truth_of)
    print(f"  the operator reviews what waits: accepts {accepted}, rejects {rejected}", flush=True)


def _train(on: Stage) -> dict[str, Any]:
    plan, job = on.plan(), on.newest_job()
    print(f"  the schedule fires; the planner: {on.model} {plan['reason']}", flush=True)
    if plan["decision"] == "wait" or job is None:
        raise LocalError("the planner does not train: see its reason above")
    begun = time.monotonic()
    ended = on.follow(job["job_id"], _Teller())
    progress("")
    print(f"  the trainer took {time.monotonic() - begun:.0f} s for {ended['epoch']} epochs")
    print(f"  the gate: {ended['state']}. {ended['outcome']}", flush=True)
    if ended["state"] not in ("promoted", "rejected"):
        raise LocalError(f"the training {ended['state']}: {ended['outcome']}")
    return ended


class _Teller:
    """Tells how far a job is: on a terminal in one line, elsewhere every few epochs."""

    def __init__(self) -> None:
        self._told = 0

    def __call__(self, job: dict[str, Any]) -> None:
        """Look at a job as the API shows it."""
        left = f", {job['eta_seconds']:.0f} s to go" if job["eta_seconds"] else ""
        quality = f", mAP50 {job['mAP50']:.2f} on its validation images" if job["mAP50"] else ""
        line = f"  {job['state']}: epoch {job['epoch']} of {job['epochs']}{quality}{left}"
        if sys.stdout.isatty():
            progress(line)
        elif job["epoch"] >= self._told + TOLD_EVERY:
            self._told = job["epoch"]
            print(line, flush=True)


def progress(told: str) -> None:
    """Write over the last line of a terminal; elsewhere do nothing: a file keeps every line."""
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\033[K{told}")
        sys.stdout.flush()


def table(rounds: Sequence[Round]) -> str:
    """Return the rounds as a table for a terminal."""
    rows = [HEADER, *(each.row() for each in rounds)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    rule = "  ".join("─" * width for width in widths)
    return "\n".join([lines[0], rule, *lines[1:]])
