"""What is lost on the way is found again, within bounds, and only once."""

from __future__ import annotations

from typing import Any

from chalicelib.predictions import State
from chalicelib.predictions.keys import dropped_file_id

QueuePath = Any


def test_a_file_whose_event_was_lost_is_queued(path: QueuePath) -> None:
    prediction = path.offer().prediction
    path.put(prediction.key)
    path.clock.forward(minutes=30)

    assert path.reconcile() == {"driven": 1, "given_up": 0, "deletions": 0}
    path.work()

    assert path.record(prediction.prediction_id).state is State.DONE


def test_a_dropped_file_whose_event_was_lost_is_queued(path: QueuePath) -> None:
    etag = path.put("uploads/scratch/tag.jpg")
    path.clock.forward(minutes=30)

    path.reconcile()
    path.work()

    prediction_id = dropped_file_id(path.settings.uploads_bucket, "uploads/scratch/tag.jpg", etag)
    assert path.record(prediction_id).state is State.DONE


def test_a_file_that_has_just_arrived_is_left_to_its_event(path: QueuePath) -> None:
    path.put(path.offer().prediction.key)

    assert path.reconcile()["driven"] == 0


def test_a_form_that_nobody_used_is_left_alone(path: QueuePath) -> None:
    path.offer()
    path.clock.forward(minutes=30)

    assert path.reconcile()["driven"] == 0


def test_a_message_that_was_lost_is_sent_again(path: QueuePath) -> None:
    prediction_id = path.send()
    lose_messages(path)
    path.clock.forward(hours=2)

    assert path.reconcile()["driven"] == 1
    path.work()

    assert path.record(prediction_id).state is State.DONE
    assert path.record(prediction_id).redrives == 1


def test_a_message_that_may_still_be_worked_on_is_not_sent_again(path: QueuePath) -> None:
    path.send()
    path.clock.forward(minutes=30)

    assert path.reconcile()["driven"] == 0


def test_what_is_answered_is_left_alone(path: QueuePath) -> None:
    path.send()
    path.send(b"not a picture")
    path.work()
    path.clock.forward(hours=2)

    assert path.reconcile()["driven"] == 0
    assert path.receive(path.identify_queue) == []


def test_a_second_run_finds_nothing_to_do(path: QueuePath) -> None:
    path.put(path.offer().prediction.key)
    path.send()
    lose_messages(path)
    path.clock.forward(hours=2)

    assert path.reconcile()["driven"] == 2
    assert path.reconcile()["driven"] == 0


def test_after_some_messages_the_prediction_is_given_up(path: QueuePath) -> None:
    prediction_id = path.send()

    for _ in range(5):
        lose_messages(path)
        path.clock.forward(hours=2)
        path.reconcile()

    held = path.record(prediction_id)
    assert (held.state, held.redrives) == (State.FAILED, 3)
    assert "no answer after its message was sent 4 times" in held.problem.detail
    assert [each["state"] for each in path.results] == ["failed"]


def test_a_run_drives_only_so_many_and_the_next_goes_on(path: QueuePath) -> None:
    for _ in range(5):
        path.put(path.offer().prediction.key)
    path.clock.forward(minutes=30)

    driven = [path.services.reconciler.run(most=2).driven for _ in range(4)]

    assert driven == [2, 2, 1, 0]


def test_more_files_than_one_look_up_takes_are_all_found(path: QueuePath) -> None:
    for index in range(120):
        path.put(f"uploads/scratch/{index}/tag.jpg", b"x")
    path.clock.forward(minutes=30)

    assert path.reconcile()["driven"] == 120


def test_an_answer_that_was_not_announced_is_announced(path: QueuePath) -> None:
    prediction_id = path.send()
    path.work()
    path.services.predictions_table.update(
        path.record(prediction_id), lambda held: held.model_copy(update={"announced": False})
    )
    path.clock.forward(hours=2)

    path.reconcile()

    assert [each["message_id"] for each in path.results] == [f"{prediction_id}:done"] * 2
    assert path.record(prediction_id).announced


def test_a_message_that_kills_every_worker_is_answered_for(path: QueuePath) -> None:
    prediction_id = path.send()
    for _ in range(6):
        path.receive(path.identify_queue)  # and dies: neither acknowledged nor answered

    assert path.reconcile() == {"driven": 0, "given_up": 1, "deletions": 0}

    held = path.record(prediction_id)
    assert held.state is State.FAILED
    assert "dead-letter queue" in held.problem.detail
    assert [each["message_id"] for each in path.results] == [f"{prediction_id}:failed"]


def test_dead_letters_stay_for_the_operator(path: QueuePath) -> None:
    prediction_id = path.send()
    path.post("{ not json")
    for _ in range(6):
        path.receive(path.identify_queue)

    path.reconcile()

    attributes = path.clients["sqs"].get_queue_attributes(
        QueueUrl=path.url(path.dead_letters), AttributeNames=["All"]
    )["Attributes"]
    kept = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    assert sum(int(attributes[each]) for each in kept) == 2
    assert path.record(prediction_id).state is State.FAILED


def lose_messages(path: QueuePath) -> None:
    for message in path.receive(path.identify_queue):
        path.acknowledge(message)
