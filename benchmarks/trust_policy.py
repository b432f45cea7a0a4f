"""The trust policy in a simulation: hundreds of runs of what `make drill` plays once over HTTP.

    python benchmarks/trust_policy.py                          # 100 runs of each scenario, minutes
    python benchmarks/trust_policy.py --least-audits 10        # with other figures of the policy
    python benchmarks/trust_policy.py --no-reopening --runs 50

It asks the functions of `chalicelib/trust/policy.py` and `standing.py`; who is asked about what and
what follows from an answer is written down here again, simplified: there are no boxes (an answer is
right, an error of its own, or the lie of a gang), no scores and no bans, and a step of the clock is
one answer. So it compares policies with each other; how much poison a service lets in is measured
by the drill.
"""

from __future__ import annotations

import argparse
import functools
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from chalicelib.trust import opinions, policy, standing, votes  # noqa: E402
from chalicelib.trust.policy import Assessment, Rank, Voice  # noqa: E402
from chalicelib.trust.standing import Audits, Controls, TrustStanding  # noqa: E402

HONEST, HONEST_PHOTOS = 24, 6
ERRORS = 0.05  # share of honest answers that differ from what others say
CONTROL_ACCURACY = 0.95
TASKS_IN_A_ROW = 3
ASKS_AFTER = 0.2  # share of answers after which an established honest person asks for a task
SOON = 150  # answers of everybody, some minutes of the drill: within these a correction counts soon
RIGHT = "right"


@dataclass(eq=False)
class Person:
    """Somebody who takes part: how they lie, whom they bear out, and what is known of them."""

    name: str
    photos: int
    lies: Callable[[Person, random.Random], bool] | None = None
    is_in_gang: bool = False
    accepted_in_a_row: int = 0
    controls: list[float] = field(default_factory=list)
    decided: list[bool] = field(default_factory=list)  # whether each was lost, the newest last
    kept: tuple[tuple[int, int], TrustStanding] | None = None

    @property
    def standing(self) -> TrustStanding:
        """What controls and decided answers say of them."""
        lengths = len(self.controls), len(self.decided)  # both only grow
        if self.kept is None or self.kept[0] != lengths:
            self.kept = lengths, self._standing()
        return self.kept[1]

    def _standing(self) -> TrustStanding:
        known = self.controls[-100:]
        accuracy = statistics.fmean(known) if known else None
        newest = self.decided[-standing.NEWEST_AUDITS :]
        return TrustStanding(
            Controls(len(known), accuracy), audits=Audits(len(newest), sum(newest))
        )

    @property
    def rank(self) -> Rank:
        """How far they are trusted."""
        return policy.rank_of("member", self.standing, 0, is_trusted=False, proof=True)


@dataclass(eq=False)
class Answer:
    """What somebody said of an image; ``is_reviewed``: people agreed on it or against it."""

    number: int
    person: Person
    says: str
    was_asked: bool
    is_accepted: bool = False
    is_rejected: bool = False
    is_reviewed: bool = False
    is_audited: bool = False

    @property
    def waits(self) -> bool:
        """Whether it is undecided."""
        return not (self.is_accepted or self.is_rejected)


@dataclass(eq=False)
class Image:
    """An image, its answers, the first of which is its sender's, and when that counted first."""

    sent_at: int
    answers: list[Answer]
    counted_at: int | None = None

    @property
    def own(self) -> Answer:
        """The answer of whoever sent it."""
        return self.answers[0]

    @property
    def label(self) -> Answer | None:
        """The oldest accepted answer."""
        return next((each for each in self.answers if each.is_accepted), None)

    @property
    def voices(self) -> list[Voice]:
        """What counts of the answers."""
        return votes.voices_of(
            [_Said(each) for each in self.answers],  # type: ignore[misc]
            {each.person.name: each.person.rank for each in self.answers},
            {each.person.name: each.person.standing for each in self.answers},
        )

    def same(self, one: int, other: int) -> bool:
        """Return whether two answers say the same."""
        says = {each.number: each.says for each in self.answers}
        return says[one] == says[other]


class _Said:
    """An answer as ``votes.voices_of`` reads it."""

    state, is_of_an_operator, suspicious = "quarantined", False, False

    def __init__(self, answer: Answer) -> None:
        self.request_id, self.user_address = answer.number, answer.person.name
        self.was_asked = answer.was_asked


@dataclass(frozen=True)
class Outcome:
    """What a run ended with: shares from 0 to 1, and tasks for each image with a label."""

    poison: float
    ever: int
    soon: float
    at_the_end: float
    tasks: float


class Simulation:
    """One run.

    Parameters
    ----------
    people : Sequence[Person]
    seed : int
    reopens : bool
        Images are asked about anew that rest on the word of somebody who lost their credit.
    """

    def __init__(self, people: Sequence[Person], seed: int, *, reopens: bool) -> None:
        self._people, self._reopens = people, reopens
        self._rng = random.Random(seed)
        self._images: list[Image] = []
        self._clock = self._numbers = self._tasks = 0
        self._poisoned_ever: set[Image] = set()

    def run(self) -> Outcome:
        """Let everybody bring their photos in an order drawn by lot, then ask for tasks again."""
        turns = [person for person in self._people for _ in range(person.photos)]
        self._rng.shuffle(turns)
        for person in turns:
            self._bring(person)
            self._take_tasks(person, asks=person.lies is not None)
        for person in self._people:
            self._take_tasks(person, asks=True)
        return self._outcome()

    def _outcome(self) -> Outcome:
        labelled = [image for image in self._images if image.label]
        honest = [image for image in self._images if image.own.person.lies is None]
        soon = [i for i in honest if i.counted_at and i.counted_at - i.sent_at <= SOON]
        right = [i for i in honest if i.label and i.label.says == i.own.says]
        return Outcome(
            sum(map(_is_poison, labelled)) / len(labelled),
            len(self._poisoned_ever),
            len(soon) / len(honest),
            len(right) / len(honest),
            self._tasks / len(labelled),
        )

    def _bring(self, person: Person) -> None:
        self._clock += 1
        lies = person.lies is not None and person.lies(person, self._rng)
        answer = self._answer(person, self._lie() if lies else self._honestly(), was_asked=False)
        image = Image(self._clock, [answer])
        self._images.append(image)
        who = Assessment(person.rank)
        answer.is_accepted = policy.decide(
            who, None, suspicious=False, surprising=False
        ).is_accepted
        answer.is_audited = answer.is_accepted and self._is_audited(person)
        person.accepted_in_a_row = person.accepted_in_a_row + 1 if answer.is_accepted else 0
        self._note(image)

    def _answer(self, person: Person, says: str, *, was_asked: bool) -> Answer:
        self._numbers += 1
        return Answer(self._numbers, person, says, was_asked)

    def _lie(self) -> str:
        return f"lie {self._numbers}"

    def _honestly(self) -> str:
        return f"error {self._numbers}" if self._rng.random() < ERRORS else RIGHT

    def _is_audited(self, person: Person) -> bool:
        unconfirmed = sum(
            image.own.is_accepted and not image.own.is_reviewed
            for image in self._images
            if image.own.person is person
        )
        return self._rng.random() < policy.audit_rate(unconfirmed)

    def _take_tasks(self, person: Person, *, asks: bool) -> None:
        asks = asks or self._rng.random() < ASKS_AFTER
        for number in range(TASKS_IN_A_ROW):
            is_offered = person.rank < Rank.ESTABLISHED
            is_offered = is_offered or self._rng.random() < policy.USUAL_TASK_RATE
            if not (is_offered or asks or number) or not self._take_task(person):
                return

    def _take_task(self, person: Person) -> bool:
        """Answer a control or a second opinion; return whether there was one."""
        wanted = [image for image in self._images if self._wants(image, person)]
        known = person.standing
        if not wanted and known.controls.answers >= 2 * standing.PROVEN_CONTROLS:
            return False
        self._clock, self._tasks = self._clock + 1, self._tasks + 1
        rate = policy.control_rate(person.rank, 0, known)
        if not wanted or self._rng.random() < rate:
            person.controls.append(CONTROL_ACCURACY)
            self._follow(person)
            return True
        image = min(wanted, key=lambda each: (self._place(each), self._rng.random()))
        answer = self._answer(person, self._opinion(person, image), was_asked=True)
        image.answers.append(answer)
        for each in {answer.person, *self._settle(image)}:
            self._follow(each)
        return True

    def _opinion(self, person: Person, image: Image) -> str:
        both = person.is_in_gang and image.own.person.is_in_gang
        return image.own.says if both else self._honestly()

    def _wants(self, image: Image, person: Person) -> bool:
        """Return whether somebody can be asked about an image."""
        if any(each.person is person for each in image.answers):
            return False
        is_audited = image.own.is_audited and not image.own.is_reviewed
        if not (is_audited or any(each.waits for each in image.answers)):
            return False
        contested = is_audited or any(each.waits and each.was_asked for each in image.answers)
        most = opinions.CONTESTED_WANTED if contested else opinions.OPINIONS_WANTED
        return sum(each.was_asked for each in image.answers) < most

    def _place(self, image: Image) -> int:
        known = image.own.person.standing
        if known.audits.are_poor:
            return 3
        if image.own.is_accepted:
            return 2
        return 0 if known.is_proven else 1

    def _settle(self, image: Image) -> Iterator[Person]:
        """Decide about the answers on an image if people agree; yield whose they are."""
        agreed = policy.agreed_on(image.voices, image.same)
        if agreed is None or not any(each.waits for each in image.answers):
            return
        for answer in image.answers:
            wins = image.same(agreed.winner, answer.number)
            if not answer.is_reviewed or answer.is_accepted != wins:
                answer.is_accepted, answer.is_rejected, answer.is_reviewed = wins, not wins, True
                answer.person.decided.append(not wins)
                yield answer.person
        self._note(image)

    def _follow(self, person: Person) -> None:
        """Do what follows from what is known of somebody by now."""
        for image in self._images:
            if any(a.person is person and a.was_asked and a.waits for a in image.answers):
                list(self._settle(image))
        if person.rank >= Rank.ESTABLISHED:
            self._release(person)
        elif person.standing.has_fallen:
            self._take_back(person)

    def _release(self, person: Person) -> None:
        for image in self._images:
            own = image.own
            if own.person is not person or not own.waits or image.label:
                continue
            if policy.is_contested(own.number, image.voices, image.same):
                continue
            own.is_accepted, own.is_audited = True, self._is_audited(person)
            self._note(image)

    def _take_back(self, person: Person) -> None:
        for image in self._images:
            if image.own.person is person and image.own.is_accepted and not image.own.is_reviewed:
                image.own.is_accepted = False
            label = image.label
            rests = any(a.person is person and a.is_accepted for a in image.answers)
            if not self._reopens or label is None or not rests or not label.is_reviewed:
                continue
            agreed = policy.agreed_on(image.voices, image.same)
            if agreed and image.same(agreed.winner, label.number):
                continue
            for answer in image.answers:
                answer.is_accepted = answer.is_rejected = answer.is_reviewed = False
            list(self._settle(image))

    def _note(self, image: Image) -> None:
        if image.own.is_accepted and image.counted_at is None:
            image.counted_at = self._clock
        if _is_poison(image):
            self._poisoned_ever.add(image)


def _is_poison(image: Image) -> bool:
    label = image.label
    return label is not None and label.person.lies is not None and label.says != RIGHT


def _always(person: Person, rng: random.Random) -> bool:
    return True


def _when_trusted(person: Person, rng: random.Random) -> bool:
    return person.accepted_in_a_row >= 3


def _now_and_then(person: Person, rng: random.Random) -> bool:
    return rng.random() < 0.2


SCENARIOS = {
    "collusion": (20, 5, _always, True),
    "collusion-of-ten": (10, 5, _always, True),
    "sleepers": (20, 8, _when_trusted, True),
    "drip": (8, 10, _now_and_then, False),
    "nobody hostile": (0, 0, None, False),
}


def simulated(scenario: str, runs: int, *, reopens: bool) -> list[Outcome]:
    """Return the outcomes of so many runs of a scenario."""
    count, photos, lies, is_in_gang = SCENARIOS[scenario]
    found = []
    for seed in range(runs):
        people = [Person(f"user:honest-{n}", HONEST_PHOTOS) for n in range(HONEST)]
        people += [Person(f"user:hostile-{n}", photos, lies, is_in_gang) for n in range(count)]
        found.append(Simulation(people, seed, reopens=reopens).run())
    return found


def main() -> None:
    """Print a table of what the policy comes to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--least-audits", type=int, default=standing.LEAST_AUDITS)
    parser.add_argument("--audit-rate", type=float, default=policy.OFTEN_RATE)
    parser.add_argument("--no-reopening", action="store_true")
    chosen = parser.parse_args()
    print("| scenario | poison: mean, median, 90 % | lies ever | soon | at the end | tasks |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    least = functools.partial(mock.patch.object, standing, "LEAST_AUDITS", chosen.least_audits)
    with least(), mock.patch.object(policy, "OFTEN_RATE", chosen.audit_rate):
        for scenario in SCENARIOS:
            runs = simulated(scenario, chosen.runs, reopens=not chosen.no_reopening)
            print(_row(scenario, runs), flush=True)


def _row(scenario: str, runs: Sequence[Outcome]) -> str:
    poison = sorted(each.poison for each in runs)
    median, high = poison[len(poison) // 2], poison[len(poison) * 9 // 10]
    mean = {
        name: statistics.fmean(getattr(each, name) for each in runs)
        for name in ("poison", "ever", "soon", "at_the_end", "tasks")
    }
    return (
        f"| {scenario} | {mean['poison']:.1%}, {median:.1%}, {high:.1%} | {mean['ever']:.1f} "
        f"| {mean['soon']:.0%} | {mean['at_the_end']:.0%} | {mean['tasks']:.1f} |"
    )


if __name__ == "__main__":
    main()
