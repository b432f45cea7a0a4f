"""Who takes part in the demo, with what photos, and what its table says of them."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from local.demo import crowd, picture
from local.demo.crowd import Person, Sent
from local.demo.measure import Found, Precision
from local.demo.people import Boxes, Seen, errors
from local.demo.photos import FIRST_SEED, HELD_OUT_SEED, SENT_SEED, photo, write_dataset
from local.demo.rounds import HEADER, Measured, Round, table

NOTHING = Boxes(np.zeros((0, 4)), np.zeros(0, np.int64))
VANDAL = Person("vandal", crowd.emptied, "deletes every box")


def test_a_photo_is_the_same_each_time_and_light_where_the_drawn_ones_are_dark():
    one, again = photo(7), photo(7)
    assert one.data == again.data
    pixels = np.asarray(Image.open(BytesIO(one.data)).convert("L"))
    assert np.median(pixels) > 110


def test_nobody_is_given_a_photo_to_send_that_others_are_measured_on_or_learnt_from():
    rounds = 9
    sent = {SENT_SEED + 1000 * n + m for n in range(1, rounds + 1) for m in range(1000)}
    kept = set(range(HELD_OUT_SEED, HELD_OUT_SEED + 1000))
    first = set(range(FIRST_SEED, FIRST_SEED + 1000))
    assert not sent & kept
    assert not first & (sent | kept)


def test_the_first_models_photos_are_a_dataset_that_the_trainer_reads(tmp_path):
    described = write_dataset(tmp_path, train=2, valid=1)
    assert "0: scratch" in described.read_text()
    images = sorted(str(each.relative_to(tmp_path / "images")) for each in tmp_path.rglob("*.jpg"))
    assert images == ["train/000.jpg", "train/001.jpg", "valid/002.jpg"]
    assert (tmp_path / "labels/train/000.txt").read_text().startswith("0 ")


def test_every_round_has_vandals_with_new_names_and_the_same_honest_people():
    one, other = crowd.crowd(1), crowd.crowd(2)
    assert len(one) == len(other) == 16 * 6 + 4 * 16
    assert {p.name for p in one if not p.is_vandal} == {p.name for p in other if not p.is_vandal}
    assert not {p.name for p in one if p.is_vandal} & {p.name for p in other if p.is_vandal}


@pytest.mark.parametrize("habit", crowd.VANDALS)
def test_a_vandals_answer_is_wrong_and_of_a_class_that_there_is(habit):
    rng = np.random.default_rng(0)
    for seed in range(20):
        there = photo(seed).there
        if len(there):
            said = crowd.VANDALS[habit](Seen(there, there, classes=1), rng)
            assert not said.class_id.any()
            assert habit == "shifts every box" or errors(said, there) > 0


def test_what_was_refused_to_a_vandal_is_poison_that_was_caught_and_an_honest_slip_is_none():
    taken = photo(1)
    honest_slip = Sent(Person("honest"), taken, "accepted", "a", was_wrong=True)
    got_in = Sent(VANDAL, taken, "accepted", "b", was_wrong=True)
    sent = [honest_slip, got_in, Sent(VANDAL, taken, "refused")]
    assert [each.is_poison for each in sent] == [False, True, True]
    now = Measured(1, [], Precision(0.5, 0.25))
    played = Round(1, sent, [VANDAL], now, now, {"state": "rejected"}, [honest_slip, got_in], 2)
    told = dict(zip(HEADER, played.row(), strict=True))
    assert told["poison"] == "2"
    assert told["caught"] == "1 (50%)"
    assert told["vandals banned"] == "1 of 1"
    assert told["mAP50 before → after"] == "0.500 → 0.500"
    assert "rejected" in table([played])


def test_a_label_is_wrong_where_the_dataset_has_the_photo_and_says_something_else():
    taken = photo(2)
    sent = Sent(Person("honest"), taken, "accepted", "id")
    assert len(taken.there)
    assert not sent.is_wrong_in({})
    assert not sent.is_wrong_in({"id": taken.there})
    assert sent.is_wrong_in({"id": NOTHING})


def test_the_picture_has_a_row_a_photo_and_a_column_a_version(tmp_path):
    photos = [photo(1), photo(2)]
    found = [Found(each.there, each.there, np.ones(len(each.there))) for each in photos]
    path = tmp_path / "picture.png"
    columns = [("before", found), ("after", found)]
    picture.before_and_after([each.data for each in photos], columns, path)
    size = (3 * picture.GAP + 2 * 450, picture.HEAD + 2 * (300 + picture.GAP))
    with Image.open(path) as drawn:
        assert drawn.size == size
