"""Images and labels: rows that are the truth, and files that follow them."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.errors import StorageUnavailable
from chalicelib.labels.split import Arrival, Split

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

Shelf = Any


def test_an_image_that_is_added_is_published(shelf: Shelf) -> None:
    [added] = shelf.add(shelf.label("a"))

    assert (added.side, added.reason) == (added.side, "drawn")
    assert shelf.files() == {}
    assert shelf.dataset.publish(10) == 1
    assert shelf.shown() == shelf.wanted()
    assert len(shelf.shown()) == 2
    assert shelf.dataset.publish(10) == 0


def test_the_newest_label_is_the_one_and_the_others_stay_known(shelf: Shelf) -> None:
    [first], [second] = shelf.add(shelf.label("a")), shelf.add(shelf.label("a", boxes=2))

    assert (first.sample_id, first.side) == (second.sample_id, second.side)
    assert second.reason == "known"
    assert shelf.sql("SELECT label_id FROM samples") == [(second.label_id,)]
    assert shelf.sql("SELECT label_id FROM labels ORDER BY 1") == [
        (first.label_id,),
        (second.label_id,),
    ]
    shelf.dataset.publish(10)
    assert [body.count("\n") for key, body in shelf.files().items() if key[-1] == "t"] == [2]


def test_an_empty_label_is_a_label(shelf: Shelf) -> None:
    shelf.add(shelf.label("a", boxes=0))
    shelf.dataset.publish(10)

    assert [body for key, body in shelf.files().items() if key.endswith(".txt")] == [""]


def test_one_image_twice_in_a_batch_is_one_sample_with_two_labels(shelf: Shelf) -> None:
    first, second = shelf.add(shelf.label("a"), shelf.label("a", boxes=3))

    assert first.sample_id == second.sample_id
    assert shelf.sql("SELECT label_id FROM samples") == [(second.label_id,)]


def test_what_is_alike_goes_to_one_side_in_whichever_process(shelf: Shelf) -> None:
    other = shelf.another_process()
    sides: dict[int, set[str]] = {}
    for number in range(60):
        by = shelf.dataset if number % 2 else other
        [added] = shelf.add(shelf.label(f"image {number}", seed=number % 20), by=by)
        sides.setdefault(number % 20, set()).add(added.side)

    assert all(len(each) == 1 for each in sides.values())
    assert {side for each in sides.values() for side in each} == {"train", "valid"}


def test_an_importers_groups_stay_together_and_may_grow(shelf: Shelf) -> None:
    other = shelf.another_process()
    [first] = shelf.add(shelf.label("a", group="tag 1"))
    assert shelf.add(shelf.label("a", group="tag 2"), by=other)[0].reason == "known"
    [third] = shelf.add(shelf.label("b", group="tag 2"))

    assert (third.side, third.reason) == (first.side, "joined")
    assert shelf.sql("SELECT groups FROM samples ORDER BY sample_id") == [
        (["tag 1", "tag 2"],),
        (["tag 2"],),
    ]


def test_a_transaction_that_failed_leaves_no_trace_in_the_process(shelf: Shelf) -> None:
    for number in range(5):
        shelf.add(shelf.label(f"thing {number}"))
    with pytest.raises(ZeroDivisionError), shelf.database.transaction() as rows:
        shelf.dataset.add(rows, "scratch", [shelf.label("lost", seed=7)])
        raise ZeroDivisionError

    [kept] = shelf.add(shelf.label("kept", seed=7))
    assert kept.reason == "drawn"
    assert shelf.sql("SELECT count(*), bool_and(joins = '{}') FROM samples") == [(6, True)]
    [lost] = shelf.add(shelf.label("lost", seed=7))
    assert (lost.reason, lost.side) == ("joined", kept.side)


def test_leaking_images_are_those_that_the_split_names(shelf: Shelf) -> None:
    sides: dict[str, int] = {}
    for number in range(40):
        [added] = shelf.add(shelf.label(f"thing {number}", seed=number, group=f"g{number}"))
        sides[added.side] = number
    shelf.add(shelf.label(f"thing {sides['train']}", group="both"))
    assert shelf.dataset.leaking("scratch") == set()
    valid = shelf.label(f"thing {sides['valid']}", group="both")
    shelf.add(valid)

    assert shelf.dataset.leaking("scratch") == {valid.sha256}
    assert shelf.another_process().leaking("scratch") == {valid.sha256}


def test_a_batch_is_placed_as_the_split_alone_would(shelf: Shelf) -> None:
    labels = [shelf.label(f"thing {n}", seed=n % 300) for n in range(500)]
    added = shelf.add(*labels)

    alone = Split().place([Arrival(each.sha256, each.fingerprint) for each in labels])
    assert [each.side for each in added] == [each.member.side for each in alone]
    assert len({each.label_id for each in added}) == 500
    assert shelf.dataset.publish(1000) == 500
    assert shelf.shown() == shelf.wanted()


def test_withdrawing_shows_the_label_before_it_and_restoring_the_newest(shelf: Shelf) -> None:
    [old] = shelf.add(shelf.by("ann", 1, "a"))
    [new] = shelf.add(shelf.by("bob", 2, "a", boxes=2))
    shelf.dataset.publish(10)

    def now() -> Any:
        shelf.dataset.publish(10)
        assert shelf.shown() == shelf.wanted()
        return shelf.sql("SELECT label_id FROM samples")[0][0]

    with shelf.database.transaction() as rows:
        assert shelf.dataset.withdraw(rows, [2], "banned") == [new.sample_id]
    assert now() == old.label_id
    with shelf.database.transaction() as rows:
        shelf.dataset.withdraw(rows, [1], "rejected")
    assert now() is None
    assert shelf.files() == {}
    assert list(shelf.files("parked/")) == [f"parked/scratch/{shelf.label('a').sha256}.jpg"]
    with shelf.database.transaction() as rows:
        shelf.dataset.restore(rows, [1])
    assert now() == old.label_id
    assert shelf.files("parked/") == {}
    with shelf.database.transaction() as rows:
        shelf.dataset.restore(rows, [2])
    assert now() == new.label_id


def test_what_was_replaced_does_not_come_back(shelf: Shelf) -> None:
    shelf.add(shelf.by("ann", 1, "a"))
    [second] = shelf.add(shelf.by("ann", 1, "a", boxes=2))
    assert shelf.sql("SELECT withdrawn_why FROM labels ORDER BY label_id") == [
        ("replaced",),
        (None,),
    ]
    with shelf.database.transaction() as rows:
        shelf.dataset.withdraw(rows, [1], "banned")
        shelf.dataset.restore(rows, [1])
        assert shelf.dataset.labels_of(rows, [1, 2])[1].withdrawn_why is None

    assert shelf.sql("SELECT label_id FROM samples") == [(second.label_id,)]


def test_an_image_survives_its_prediction(shelf: Shelf) -> None:
    """What a label was taken back from can be published after the prediction expired."""
    label = shelf.by("ann", 1, "a")
    shelf.add(label)
    with shelf.database.transaction() as rows:
        shelf.dataset.withdraw(rows, [1], "banned")
    shelf.dataset.publish(10)
    shelf.store.delete(label.source_key)
    with shelf.database.transaction() as rows:
        shelf.dataset.restore(rows, [1])
    shelf.dataset.publish(10)

    assert shelf.shown() == shelf.wanted()
    assert len(shelf.shown()) == 2


def test_an_image_that_is_gone_holds_up_no_other(shelf: Shelf) -> None:
    lost = shelf.label("lost")
    shelf.add(lost)
    shelf.store.delete(lost.source_key)
    shelf.add(shelf.label("kept"))

    assert shelf.dataset.publish(1) == 0
    assert shelf.dataset.publish(1) == 1
    assert shelf.files(f"models/scratch/labels/train/{lost.sha256}") == {}
    shelf.store.put(lost.source_key, b"lost", "image/jpeg")
    assert shelf.dataset.publish(10) == 1
    assert shelf.shown() == shelf.wanted()


def test_a_pending_models_files_move_when_it_has_a_version(shelf: Shelf) -> None:
    shelf.prefixes["bolts"] = "pending_models/bolts"
    shelf.add(*(shelf.label(f"{n}") for n in range(5)), model="bolts")
    shelf.dataset.publish(10)
    assert shelf.shown("bolts") == shelf.wanted("bolts")
    assert shelf.dataset.follow_promotions() == 0

    del shelf.prefixes["bolts"]
    assert shelf.dataset.follow_promotions() == 5
    shelf.dataset.publish(10)
    assert shelf.shown("bolts") == shelf.wanted("bolts")
    assert shelf.files("pending_models/") == {}
    assert shelf.dataset.follow_promotions() == 0


def test_parked_images_are_brought_in(shelf: Shelf) -> None:
    label = shelf.label("a")
    key = shelf.dataset.park("scratch", label.sha256, "jpg", b"a")
    shelf.store.delete(label.source_key)
    shelf.add(replace(label, source_key=key))
    shelf.dataset.publish(10)

    assert shelf.shown() == shelf.wanted()
    assert shelf.files("parked/") == {}


class Dying:
    """Lets calls to S3 fail after so many of them."""

    def __init__(self, s3: Any, calls: int) -> None:
        self.left = calls
        s3.meta.events.register("before-call.s3", self)

    def __call__(self, **_: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise EndpointConnectionError(endpoint_url="s3")


@pytest.mark.parametrize("calls", range(9))
def test_publishing_may_end_at_any_call(shelf: Shelf, calls: int) -> None:
    """Whichever call to S3 was the last, the next run brings the files to what the rows say."""
    shelf.add(shelf.by("ann", 1, "a"))
    for change in ("", "withdraw", "restore"):
        if change:
            with shelf.database.transaction() as rows:
                given = ([1], "banned") if change == "withdraw" else ([1],)
                getattr(shelf.dataset, change)(rows, *given)
        dying = Dying(shelf.s3, calls)
        try:
            shelf.dataset.publish(10)
        except StorageUnavailable:
            assert dying.left < 0
        shelf.s3.meta.events.unregister("before-call.s3", dying)
        shelf.another_process().publish(10)
        assert shelf.shown() == shelf.wanted()
        assert shelf.sql("SELECT bool_and(published) FROM samples") == [(True,)]


def test_a_label_that_changes_while_it_is_written_is_written_again(shelf: Shelf) -> None:
    shelf.add(shelf.label("a"))
    newer = [shelf.label("a", boxes=2)]

    def overtake(**_: Any) -> None:
        if newer:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(shelf.add, newer.pop()).result(60)

    shelf.s3.meta.events.register("after-call.s3.PutObject", overtake)
    shelf.dataset.publish(10)
    assert shelf.sql("SELECT published FROM samples") == [(False,)]
    shelf.dataset.publish(10)

    assert shelf.shown() == shelf.wanted()


def test_many_at_once_leave_one_truth(shelf: Shelf) -> None:
    """Adding, withdrawing, restoring and publishing, by eight threads in two processes."""
    names = [f"thing {n}" for n in range(12)]
    labels = [shelf.by(f"user{n}", n + 1, random.Random(n).choice(names)) for n in range(96)]
    other = shelf.another_process()

    def act(number: int) -> None:
        dataset = other if number % 2 else shelf.dataset
        shelf.add(labels[number], by=dataset)
        with shelf.database.transaction() as rows:
            dataset.withdraw(rows, [*range(number, 97, 7)], "banned")
        dataset.publish(5)
        with shelf.database.transaction() as rows:
            dataset.restore(rows, [*range(97, number, -5)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(act, range(96)))
    while shelf.dataset.publish(100):
        pass

    assert shelf.shown() == shelf.wanted()
    assert shelf.sql("SELECT count(*) FROM samples") == [(12,)]
    assert shelf.sql("SELECT count(*) FROM labels") == [(96,)]
    assert (
        shelf.sql(
            """SELECT s.sample_id FROM samples s WHERE s.label_id IS DISTINCT FROM
           (SELECT max(label_id) FROM labels l
            WHERE l.sample_id = s.sample_id AND l.withdrawn_at IS NULL)"""
        )
        == []
    )
