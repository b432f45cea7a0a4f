"""A ZIP of somebody who is banned or doubted is not placed, however far it is by then."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.labels.transfers.records import Kind, State
from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.grading import grade
from chalicelib.trust.ledger import Request
from chalicelib.trust.task_book import Task

Way = Any
MakeTags = Callable[..., dict[str, bytes | str]]
MakeZip = Callable[..., bytes]
ANN, OLGA = "user:ann", "operator:olga"


class Sent:
    """A ZIP of somebody's that arrived, and is worked on step by step."""

    def __init__(self, way: Way, content: bytes, user: str = ANN) -> None:
        self.way, self.user = way, user
        self.held = way.services.transfers.offer_import("tags", user, {}).transfer
        way.tell(self.held.key, way.put(self.held, content))

    def work_until(self, state: State) -> None:
        """Do slices until it is in a state, and let go of it there."""
        worker = self.way.services.transfer_worker
        held = worker._table.take(self.held.transfer_id)
        while held.state is not state:
            held = worker._steps[Kind.IMPORT](held)
        worker._table.release(held)

    def finish(self) -> Any:
        self.way.work()
        return self.way.now(self.held)


def ban(way: Way, user: str = ANN) -> None:
    """Ban somebody, with what follows from it."""
    way.services.ledger.ban(user, "olga", "spam")
    way.services.ban_follow_up.run()


def lift(way: Way, user: str = ANN) -> None:
    way.services.ledger.lift(user, "olga", "a mistake")
    way.services.ban_follow_up.run()


def answer_controls_wrongly(way: Way, user: str) -> None:
    book = way.services.reviewing._book
    for number in range(5):
        right, wrong = ClassedBoxes([[0, 0, 1, 1]], [0]), ClassedBoxes([[5, 5, 9, 9]], [0])
        task = Task(str(uuid.uuid4()), user, "other", f"{number:064}", "control", right, 1)
        assert book.hand_out(task)
        book.grade(task, grade(wrong, right))


def lose_answers(way: Way, user: str) -> None:
    """Let five answers be decided about, of which two are lost."""
    for number in range(5):
        made = Request(user, str(uuid.uuid4()), "other", 1, 0.0, 0, 0, "accepted", {})
        way.sql(
            "UPDATE requests SET state = %s, reviewed_at = now(), reviewed_by = 'sightloop' "
            "WHERE request_id = %s",
            "rejected" if number < 2 else "accepted",
            way.services.ledger.record(made).request_id,
        )


def assert_refused(way: Way, report: Any, word: str) -> None:
    assert (report.state, way.labels()) == (State.FAILED, {})
    assert word in report.problem
    assert way.sql("SELECT count(*) FROM samples") == [(0,)]
    assert way.files("models/tags/images/") == way.files("pending_models/tags/images/") == set()


@pytest.mark.parametrize("state", [State.CHECKING, State.PLACING])
def test_a_zip_of_somebody_who_was_banned_meanwhile_is_refused(
    way: Way, make_tags: MakeTags, make_zip: MakeZip, state: State
) -> None:
    sent = Sent(way, make_zip(make_tags(3)))
    sent.work_until(state)
    ban(way)

    assert_refused(way, sent.finish(), "banned")


def test_a_zip_that_arrives_after_the_ban_is_not_even_read(
    way: Way, make_tags: MakeTags, make_zip: MakeZip
) -> None:
    held = way.services.transfers.offer_import("tags", ANN, {}).transfer
    ban(way)
    way.tell(held.key, way.put(held, make_zip(make_tags(3))))
    way.work()

    assert_refused(way, way.now(held), "banned")
    assert way.files("imports/") == set()


def test_a_ban_between_two_slices_of_the_check_ends_it(
    way: Way, make_tags: MakeTags, make_zip: MakeZip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.labels.transfers.importer.SLICE_IMAGES", 1)
    sent = Sent(way, make_zip(make_tags(3)))
    worker = way.services.transfer_worker
    held = worker._table.take(sent.held.transfer_id)
    while held.done < 2:
        held = worker._steps[Kind.IMPORT](held)
    worker._table.release(held)
    ban(way)

    report = sent.finish()

    assert_refused(way, report, "banned")
    assert report.done == 2


@pytest.mark.parametrize("step", ["before its transaction", "within it, unseen"])
def test_a_ban_while_a_zip_is_placed_leaves_nothing_in_force(
    way: Way,
    make_tags: MakeTags,
    make_zip: MakeZip,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = Sent(way, make_zip(make_tags(3)))
    sent.work_until(State.PLACING)
    dataset = way.services.dataset
    late = {"before its transaction": "look", "within it, unseen": "add"}[step]
    call = getattr(dataset, late)

    def banned_meanwhile(*given: Any) -> Any:
        ban(way)
        return call(*given)

    monkeypatch.setattr(dataset, late, banned_meanwhile)
    report = sent.finish()

    assert way.labels() == {}
    assert way.sql("SELECT count(*) FROM samples WHERE NOT published") == [(0,)]
    assert way.files("pending_models/tags/images/") == set()
    assert report.state is (State.FAILED if late == "look" else State.DONE)


def test_a_ban_withdraws_what_its_user_imported_and_lifting_it_puts_that_back(
    way: Way, make_tags: MakeTags, make_zip: MakeZip
) -> None:
    half = Sent(way, make_zip(make_tags(2)))
    half.work_until(State.PUBLISHING)
    done = Sent(way, make_zip(make_tags(2, first=2)))
    way.deliver(way.message(done.held))
    assert way.now(done.held).state is State.DONE
    ben = Sent(way, make_zip(make_tags(1, first=4)), "user:ben")
    assert ben.finish().state is State.DONE
    before = way.labels()
    assert len(before) == 5

    ban(way)
    assert half.finish().state is State.DONE
    assert list(way.labels()) == [
        sha256
        for (sha256,) in way.sql(
            "SELECT sha256 FROM samples JOIN labels USING (sample_id) WHERE user_address = %s",
            "user:ben",
        )
    ]
    assert len(way.files("pending_models/tags/images/")) == 1

    lift(way)
    way.services.dataset.publish(100)
    assert way.labels() == before
    assert len(way.files("pending_models/tags/images/")) == 5


@pytest.mark.parametrize("fall", [answer_controls_wrongly, lose_answers])
@pytest.mark.parametrize("state", [State.CHECKING, State.PLACING])
def test_a_zip_of_somebody_who_is_doubted_by_then_is_left_to_operators(
    way: Way,
    make_tags: MakeTags,
    make_zip: MakeZip,
    fall: Callable[[Way, str], None],
    state: State,
) -> None:
    content = make_zip(make_tags(2))
    sent = Sent(way, content)
    sent.work_until(state)
    fall(way, ANN)

    assert_refused(way, sent.finish(), "ask an operator")
    again = Sent(way, content, OLGA)  # what the refusal says to do
    assert again.finish().state is State.DONE
    assert len(way.labels()) == 2


def test_operators_imports_are_taken_whatever_is_said_of_them(
    way: Way, make_tags: MakeTags, make_zip: MakeZip
) -> None:
    answer_controls_wrongly(way, OLGA)
    ban(way, OLGA)
    sent = Sent(way, make_zip(make_tags(2)), OLGA)

    assert sent.finish().state is State.DONE
    way.services.submissions.settle()
    assert len(way.labels()) == 2
