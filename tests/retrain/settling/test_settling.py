"""Settling trainings: the better serves, the others are kept, whatever breaks off in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from chalicelib.catalog.promoting import Promoter
from chalicelib.errors import InvalidModel, ObjectNotFound, StorageUnavailable
from chalicelib.retrain.keys import output_key

pytestmark = pytest.mark.stack


class Killed(BaseException):
    """The process is gone: no handler sees it."""


def test_a_better_version_serves_and_its_verdict_is_kept(bench: Any) -> None:
    job = bench.trained((0.6, 0.5), (0.4, 0.4))

    settled = bench.settlement.settle(job)

    assert (settled.state, settled.version) == ("promoted", 2)
    assert settled.outcome.startswith("mAP50-95 rose from 0.4000 to 0.5500")
    assert bench.live() == 2
    told = bench.records()[0]
    assert told.verdict["reason"] == settled.outcome
    assert told.dataset_sha256 == job.dataset_sha256
    last = bench.publisher.promoter.history("scratch")[0]
    assert (last.version, last.previous, last.by) == (2, 1, "the gate")


def test_a_worse_version_never_serves_and_is_kept(bench: Any) -> None:
    settled = bench.settlement.settle(bench.trained((0.3, 0.3), (0.4, 0.4)))

    assert (settled.state, settled.version) == ("rejected", 2)
    assert settled.outcome.startswith("mAP50-95 fell from 0.4000 to 0.3000; the class 'scratch'")
    assert bench.live() == 1
    assert bench.store.has("models/scratch/versions/2/best.pt")


def test_a_version_that_forgets_a_class_never_serves_and_the_class_is_named(bench: Any) -> None:
    settled = bench.settlement.settle(bench.trained((0.9, 0.2), (0.4, 0.4)))

    assert settled.state == "rejected"
    assert "the class 'dent' (9 boxes) fell from 0.4000 to 0.2000" in settled.outcome
    assert bench.live() == 1


@pytest.mark.parametrize("new", [(0.6, 0.5), (0.3, 0.3)])
def test_settling_twice_is_settling_once(bench: Any, new: tuple[float, ...]) -> None:
    job = bench.trained(new, (0.4, 0.4))

    first = bench.settlement.settle(job)
    serving = bench.store.get("models/scratch/model.yaml")

    assert bench.settlement.settle(job) == first
    assert bench.store.get("models/scratch/model.yaml") == serving
    assert len(bench.records()) == 2


def test_what_was_promoted_and_rolled_back_is_not_promoted_by_a_late_call(bench: Any) -> None:
    job = bench.trained((0.6, 0.5), (0.4, 0.4))
    first = bench.settlement.settle(job)
    bench.publisher.promoter.rollback("scratch", "Ada", "it misses dents at night")

    assert bench.settlement.settle(job) == first
    assert bench.live() == 1


def test_a_first_version_ends_the_wait_of_a_model_that_was_asked_for(bench: Any) -> None:
    asked = b"name: tags\nnames: [scratch, dent]\nnc: 2\n"
    bench.store.put("pending_models/tags/model.yaml", asked, "application/yaml")
    job = bench.trained((0.3, None), base=None, model="tags")

    settled = bench.settlement.settle(job)

    assert (settled.state, settled.version) == ("promoted", 1)
    assert "no validation image shows 'dent'" in settled.outcome
    assert bench.catalog.require("tags").version == 1
    assert not bench.store.has("pending_models/tags/model.yaml")


@pytest.mark.parametrize(("now", "state"), [((0.5, 0.5), "promoted"), ((0.7, 0.7), "rejected")])
def test_a_version_that_began_to_serve_meanwhile_is_what_the_new_one_has_to_beat(
    bench: Any, now: tuple[float, ...], state: str
) -> None:
    job = bench.trained((0.6, 0.6), (0.4, 0.4))
    bench.publish(0.5)
    bench.beside.aps[2] = now

    settled = bench.settlement.settle(job)

    assert bench.beside.asked == [2]
    assert (settled.state, settled.verdict["live_version"]) == (state, 2)
    assert bench.live() == (3 if state == "promoted" else 2)


def test_what_cannot_be_measured_beside_the_version_that_serves_is_rejected(bench: Any) -> None:
    job = bench.trained((0.6, 0.6), (0.4, 0.4))
    bench.publish(0.5)

    settled = bench.settlement.settle(job)

    assert settled.state == "rejected"
    assert settled.outcome == "it was measured beside version 1, and version 2 serves now"


def test_a_version_that_begins_to_serve_in_the_last_moment_is_judged_beside_too(
    bench: Any,
) -> None:
    job = bench.trained((0.6, 0.6), (0.4, 0.4))
    bench.beside.aps[3] = (0.7, 0.7)

    def quicker(what: str, key: str) -> None:
        if key == "models/scratch/model.yaml":
            bench.store.before = lambda what, key: None
            bench.publish(0.5)

    bench.store.before = quicker
    settled = bench.settlement.settle(job)

    assert (settled.state, settled.version) == ("rejected", 2)
    assert settled.outcome.startswith("mAP50-95 fell from 0.7000 to 0.6000")
    assert bench.live() == 3


class Overtaken(Promoter):
    """Is asked whether a version served just before another judge promotes it."""

    meanwhile: Callable[[], object]

    def has_served(self, name: str, version: int) -> bool:
        told, meanwhile = super().has_served(name, version), self.meanwhile
        self.meanwhile = lambda: None
        meanwhile()
        return told


def test_of_two_judges_at_once_neither_has_it_compared_with_itself(bench: Any) -> None:
    job = bench.trained((0.6, 0.5), (0.4, 0.4))
    bench.beside.aps[2] = (0.6, 0.5)
    bench.publisher.promoter = Overtaken(bench.store, bench.catalog, bench.database)
    bench.publisher.promoter.meanwhile = lambda: bench.settlement.settle(job)

    assert bench.settlement.settle(job).state == "promoted"
    assert (bench.live(), bench.records()[0].verdict["promote"]) == (2, True)


def test_an_operator_who_promotes_first_is_not_contradicted(bench: Any) -> None:
    job = bench.trained((0.3, 0.3), (0.4, 0.4))
    bench.settlement.settle(job)
    bench.publisher.promoter.promote("scratch", 2, "Ada", "it is better at night")

    assert bench.settlement.settle(job).state == "rejected"
    assert bench.live() == 2


@pytest.mark.parametrize("new", [(0.6, 0.5), (0.3, 0.3)])
def test_whoever_is_killed_at_any_step_is_followed_by_one_that_ends_the_same(
    bench: Any, new: tuple[float, ...]
) -> None:
    """The process dies before each write in turn, until one settlement comes through."""
    steps: list[str] = []
    job = bench.trained(new, (0.4, 0.4))
    for allowed in range(100):
        left = [allowed]

        def die_after(what: str, key: str, left: list[int] = left) -> None:
            if left[0] == 0:
                steps.append(f"{what} {key}")
                raise Killed
            left[0] -= 1

        bench.store.before = die_after
        try:
            settled = bench.settlement.settle(job)
            break
        except Killed:
            bench.catalog.forget("scratch")
            assert bench.catalog.require("scratch").version == 1
            prove_whole(bench)
    better = new == (0.6, 0.5)

    assert len(steps) == (4 if better else 3)
    assert settled.state == ("promoted" if better else "rejected")
    assert bench.live() == (2 if better else 1)
    assert [each.version for each in bench.records()] == [2, 1]
    prove_whole(bench)


def prove_whole(bench: Any) -> None:
    """See that what serves detects."""
    live = bench.catalog.require("scratch")
    assert bench.catalog.weights(live)


FAIL = """
CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'cut off'; END $$;
CREATE TRIGGER cut BEFORE {change} FOR EACH ROW WHEN (NEW.{column} = 2) EXECUTE FUNCTION cut();
"""


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ("INSERT ON model_versions", "version"),
        ("UPDATE OF verdict ON model_versions", "version"),
        ("UPDATE OF live_version ON models", "live_version"),
        ("INSERT ON model_promotions", "version"),
    ],
)
def test_whoever_breaks_off_at_any_row_is_followed_by_one_that_ends_the_same(
    bench: Any, change: str, column: str
) -> None:
    job = bench.trained((0.6, 0.5), (0.4, 0.4))
    bench.rows(FAIL.format(change=change, column=column))
    with pytest.raises(psycopg2.errors.RaiseException, match="cut off"):
        bench.settlement.settle(job)
    prove_whole(bench)
    bench.rows("DROP FUNCTION cut CASCADE")

    settled = bench.settlement.settle(job)

    assert (settled.state, settled.version, bench.live()) == ("promoted", 2, 2)
    assert [each.version for each in bench.publisher.promoter.history("scratch")] == [2, 1]
    assert bench.rows("SELECT live_version FROM models") == [(2,)]


def test_a_training_without_output_is_told_as_such(bench: Any) -> None:
    with pytest.raises(ObjectNotFound):
        bench.settlement.settle(bench.job(uuid4(), 1))

    assert bench.live() == 1


def test_output_that_cannot_serve_ends_the_training_and_not_the_service(bench: Any) -> None:
    with pytest.raises(InvalidModel):
        bench.settlement.settle(bench.trained((0.9, 0.9), (0.4, 0.4), onnx=b"torn"))

    assert bench.live() == 1


def test_a_store_that_does_not_answer_is_tried_again_later(bench: Any) -> None:
    job = bench.trained((0.6, 0.5), (0.4, 0.4))

    def cut(what: str, key: str) -> None:
        raise StorageUnavailable("cut off")

    bench.store.before = cut
    with pytest.raises(StorageUnavailable) as told:
        bench.settlement.settle(job)
    assert told.value.retry

    bench.store.before = lambda what, key: None
    assert bench.settlement.settle(job).state == "promoted"
    assert bench.store.has(output_key(job.job_id, "metrics.json"))
