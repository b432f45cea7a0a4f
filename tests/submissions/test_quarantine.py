"""Images of submissions that wait: kept while somebody may look at them, and no longer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chalicelib.errors import Conflict

Desk = Any

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


def waiting(desk: Desk, image: bytes | None = None, user: str = "ann") -> Any:
    """Return a submission that deletes what was found, and waits for it."""
    told = desk.submit(desk.predict(image), user=user, answer="empty")
    assert told.state == "quarantined"
    return desk.services.ledger.get(told.submission_id)


def review(desk: Desk, held: Any, state: str) -> None:
    desk.services.submissions.review(held.request_id, held.updated_at, state, "olga", "seen")


def kept(desk: Desk) -> list[str]:
    return list(desk.services.store.keys("quarantine/"))


def clear(desk: Desk, most: int = 100) -> int:
    return int(desk.services.submissions.clear_quarantine(most))


def test_what_waits_is_kept(desk: Desk) -> None:
    waiting(desk)

    assert clear(desk) == 0
    assert len(kept(desk)) == 1


def test_what_is_accepted_goes_once_its_image_is_in_the_dataset(desk: Desk) -> None:
    held = waiting(desk)
    review(desk, held, "accepted")

    assert clear(desk) == 1
    assert kept(desk) == []
    [key] = desk.services.store.keys("models/scratch/images/")
    review(desk, desk.services.ledger.get(held.request_id), "rejected")
    review(desk, desk.services.ledger.get(held.request_id), "accepted")
    assert list(desk.services.store.keys("models/scratch/images/")) == [key]


def test_what_is_accepted_stays_until_its_image_is_in_the_dataset(desk: Desk) -> None:
    review(desk, waiting(desk), "accepted")
    [(key,)] = desk.sql("SELECT 'quarantine/' || sha256 || '.jpg' FROM samples")
    desk.sql("UPDATE samples SET published = false, source_key = %s", key)

    assert clear(desk) == 0
    desk.services.dataset.publish(10)
    assert clear(desk) == 1


def test_what_was_rejected_can_be_accepted_after_all_for_some_time(desk: Desk) -> None:
    held = waiting(desk)
    review(desk, held, "rejected")
    assert clear(desk) == 0
    review(desk, desk.services.ledger.get(held.request_id), "accepted")
    assert len(list(desk.services.store.keys("models/scratch/images/"))) == 1


def test_what_was_rejected_long_ago_goes_and_says_so(desk: Desk) -> None:
    held = waiting(desk)
    review(desk, held, "rejected")
    days = desk.services.settings.prediction_ttl_days
    desk.sql("UPDATE requests SET reviewed_at = now() - make_interval(days => %s)", days + 1)

    assert clear(desk) == 1
    with pytest.raises(Conflict, match="gone"):
        review(desk, desk.services.ledger.get(held.request_id), "accepted")


def test_an_image_stays_while_one_of_its_submissions_waits(desk: Desk, noise: Any) -> None:
    first, second = (waiting(desk, noise(7), user) for user in ("ann", "bob"))
    review(desk, first, "accepted")
    assert (clear(desk), len(kept(desk))) == (0, 1)
    review(desk, second, "accepted")

    assert (clear(desk), kept(desk)) == (1, [])


def test_what_a_broken_off_submission_left_goes(desk: Desk) -> None:
    desk.services.store.put(f"quarantine/{'0' * 64}.jpg", b"x", "image/jpeg")
    desk.services.store.put("quarantine/readme.txt", b"x", "text/plain")

    assert (clear(desk), kept(desk)) == (1, ["quarantine/readme.txt"])


def test_a_run_clears_so_many_and_the_next_goes_on(desk: Desk) -> None:
    for digit in "abcde":
        desk.services.store.put(f"quarantine/{digit * 64}.jpg", b"x", "image/jpeg")

    assert [clear(desk, 3), clear(desk, 3), clear(desk, 3)] == [3, 2, 0]


def test_nothing_is_cleared_that_is_being_submitted(desk: Desk, noise: Any) -> None:
    """Forty answers about four images, while the quarantine is cleared all the time."""
    predictions = [desk.predict(noise(number % 4)) for number in range(40)]

    def submit(number: int) -> Any:
        held = desk.submit(predictions[number], user=f"user-{number}", answer="empty")
        return desk.services.ledger.get(held.submission_id)

    with ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(submit, number) for number in range(40)]
        while not all(each.done() for each in sent):
            clear(desk)
        for each in sent:
            review(desk, each.result(), "accepted")

    assert len(list(desk.services.store.keys("models/scratch/images/"))) == 4
    clear(desk)
    assert kept(desk) == []
