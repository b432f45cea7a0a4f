"""What a round did to people, in words: whose corrections counted, what waits, who was banned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from local.demo.course import MINUTE, Course, Person, Sent
from local.demo.records import trust_of

WAITS_FOR: Mapping[str, str] = {
    "unproven": "the sender has not proved themselves on control tasks yet",
    "distrust": "the sender's answers to tasks were poor",
    "settled": "the photo has a settled label that says something else",
    "contested": "the photo has another person's label that says something else",
}
UNUSUAL = "the change is larger than the model's errors usually are"


def honest(course: Course, sent: Sequence[Sent]) -> list[str]:
    """Return lines about the corrections that honest people sent about photos of their own."""
    own = [each for each in sent if each.kind == "own" and not each.person.is_hostile]
    at_once = sum(each.counts_at_once for each in own)
    soon = sum(is_soon(each) for each in own)
    late = [each for each in own if not is_soon(each)]
    missing = [each for each in late if not course.is_in_force(each)]
    causes = course.service.records.causes([each.submission_id for each in missing])
    waiting = [each for each in missing if each.submission_id in causes]
    lost = len(missing) - len(waiting)
    lines = [
        f"{soon} of {len(own)} corrections of honest people counted within a minute "
        f"without an operator ({soon / max(len(own), 1):.0%}; {at_once} at once)",
        f"{len(late) - len(missing)} more counted later without an operator, "
        f"{len(waiting)} {'waits' if len(waiting) == 1 else 'wait'} for the operator, "
        f"{lost} lost to another label of the photo",
    ]
    reasons = Counter(reason(causes[each.submission_id]) for each in waiting)
    return lines + [f"  {count} because {why}" for why, count in reasons.most_common()]


def is_soon(sent: Sent) -> bool:
    """Tell whether a submission counted within a minute."""
    return sent.counted_seconds is not None and sent.counted_seconds <= MINUTE


def reason(causes: Sequence[str]) -> str:
    """Return in words what a submission waits for.

    Of several causes the one that more tasks do not remove.
    """
    lasting = [cause for cause in causes if cause != "unproven"]
    if lasting or not causes:
        return WAITS_FOR.get(lasting[0], UNUSUAL) if lasting else UNUSUAL
    return WAITS_FOR["unproven"]


def tasks(sent: Sequence[Sent]) -> str:
    """Return a line about the tasks that were answered."""
    kinds = Counter(each.kind for each in sent if each.kind != "own" and each.state != "refused")
    honest_ones = sum(
        each.kind != "own" and each.state != "refused" and not each.person.is_hostile
        for each in sent
    )
    controls, total = kinds["control"], sum(kinds.values())
    return (
        f"{total} tasks answered, {honest_ones} of them by honest people: {controls} controls "
        f"(the right boxes are known), {total - controls} second opinions"
    )


def vandals(course: Course, sent: Sequence[Sent], banned: Iterable[Person]) -> list[str]:
    """Return a line about each vandal."""
    names = {person.name for person in banned}
    people = dict.fromkeys(each.person for each in sent if each.person.is_hostile)
    in_order = sorted(people, key=lambda person: person.name)
    return [_vandal(course, sent, person, person.name in names) for person in in_order]


def _vandal(course: Course, sent: Sequence[Sent], person: Person, is_banned: bool) -> str:
    own = [each for each in sent if each.person is person and each.kind == "own"]
    refused = sum(each.state == "refused" for each in own)
    wrong = [each for each in own if each.was_wrong and each.state != "refused"]
    count = sum(course.is_in_force(each) for each in wrong)
    words = f"{len(own)} photos: {len(wrong)} wrong answers taken, {count} of them count"
    words += f", {refused} refused" if refused else ""
    fate = "BANNED" if is_banned else "not banned"
    if not is_banned and trust_of(course.service.operator, person.user).get("distrust"):
        fate += ", distrusted: all that they send waits"
    return f"{person.name} {person.habit}: {words}; {fate}"
