"""Who takes part in the demo, with what photos, and what its table says of them."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from local.demo import crowd, picture, report
from local.demo.course import MINUTE, Mind, Person, Sent, Vandal
from local.demo.measure import Found, Precision
from local.demo.people import Boxes, Seen, errors
from local.demo.photos import FIRST_SEED, HELD_OUT_SEED, SENT_SEED, photo, write_dataset
from local.demo.rounds import HEADER, Measured, Round, table

NOTHING = Boxes(np.zeros((0, 4)), np.zeros(0, np.int64))
VANDAL = Person("vandal", Vandal(crowd.emptied), 1, True, habit="deletes every box")
HONEST = Person("honest", Mind(), 1)


def sent_by(person: Person, state: str, image: str = "", *, is_wrong: bool = False) -> Sent:
    return Sent(person, "own", NOTHING, image, state, is_wrong, number=0, sent_at=0.0)


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
    assert len(crowd.turns(one, 1)) == len(crowd.turns(other, 2)) == 16 * 6 + 4 * 16
    honest = [{p.name for p in people if not p.is_hostile} for people in (one, other)]
    vandals = [{p.name for p in people if p.is_hostile} for people in (one, other)]
    assert honest[0] == honest[1]
    assert not vandals[0] & vandals[1]
    assert not {p.name for p in one} & {p.name for p in crowd.crowd(1, run=2)}


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
    honest_slip = sent_by(HONEST, "accepted", "a", is_wrong=True)
    honest_slip.counted_seconds = MINUTE
    got_in = sent_by(VANDAL, "accepted", "b", is_wrong=True)
    sent = [honest_slip, got_in, sent_by(VANDAL, "refused")]
    assert [crowd.is_poison(each) for each in sent] == [False, True, True]
    now = Measured(1, [], Precision(0.5, 0.25))
    played = Round(1, sent, [VANDAL], now, now, {"state": "rejected"}, [honest_slip, got_in], 2)
    told = dict(zip(HEADER, played.row(), strict=True))
    assert told["honest counted alone"] == "1 of 1"
    assert told["poison"] == "2"
    assert told["caught"] == "1 (50%)"
    assert told["vandals banned"] == "1 of 1"
    assert told["mAP50 before → after"] == "0.500 → 0.500"
    assert "rejected" in table([played])


def test_a_label_is_wrong_where_the_dataset_has_the_photo_and_says_something_else():
    taken = photo(2)
    sent, truth = sent_by(HONEST, "accepted", "id"), {"id": taken.there}
    assert len(taken.there)
    assert not crowd.is_wrong_in({}, sent, truth)
    assert not crowd.is_wrong_in({"id": taken.there}, sent, truth)
    assert crowd.is_wrong_in({"id": NOTHING}, sent, truth)


@pytest.mark.parametrize(
    ("causes", "words"),
    [
        (["unproven"], report.WAITS_FOR["unproven"]),
        (["unproven", "low_ap"], report.UNUSUAL),
        (["added"], report.UNUSUAL),
        ([], report.UNUSUAL),
        (["distrust"], report.WAITS_FOR["distrust"]),
    ],
)
def test_what_a_correction_waits_for_is_what_more_tasks_do_not_remove(causes, words):
    assert report.reason(causes) == words


class Waiting:
    """A course in which submissions wait for the same thing, but those numbered 0."""

    def __init__(self) -> None:
        self.service = self.records = self

    def causes(self, submission_ids):
        return {submission_id: ["unproven"] for submission_id in submission_ids if submission_id}

    def is_in_force(self, sent):
        return sent.counted_seconds is not None


def test_the_report_tells_corrections_that_counted_within_a_minute_from_those_that_wait():
    soon, late, waiting, lost = (sent_by(HONEST, "quarantined") for _ in range(4))
    soon.counted_seconds, late.counted_seconds = MINUTE, MINUTE + 1
    waiting.submission_id = 7
    sent = [soon, late, waiting, lost, sent_by(VANDAL, "x")]
    first, second, third = report.honest(Waiting(), sent)
    assert first.startswith("1 of 4 corrections of honest people counted within a minute")
    assert second.startswith("1 more counted later without an operator, 1 waits")
    assert second.endswith("1 lost to another label of the photo")
    assert third.strip() == f"1 because {report.WAITS_FOR['unproven']}"


def test_the_report_counts_tasks_apart_from_photos_and_by_kind():
    tasks = [sent_by(HONEST, "accepted"), sent_by(VANDAL, "accepted"), sent_by(HONEST, "accepted")]
    tasks[0].kind, tasks[1].kind = "control", "opinion"
    line = report.tasks(tasks)
    assert line.startswith("2 tasks answered, 1 of them by honest people: 1 control")


def test_the_picture_has_a_row_a_photo_and_a_column_a_version(tmp_path):
    photos = [photo(1), photo(2)]
    found = [Found(each.there, each.there, np.ones(len(each.there))) for each in photos]
    path = tmp_path / "picture.png"
    columns = [("before", found), ("after", found)]
    picture.before_and_after([each.data for each in photos], columns, path)
    size = (3 * picture.GAP + 2 * 450, picture.HEAD + 2 * (300 + picture.GAP))
    with Image.open(path) as drawn:
        assert drawn.size == size
