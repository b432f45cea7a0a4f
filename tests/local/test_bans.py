"""A vandal's eleventh suspicious request shuts them out, from the trigger to the 403."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest

from chalicelib.database import Database
from chalicelib.trust.ledger import Ledger
from chalicelib.trust.records import Request

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
Stack = Any
DETECTIONS = "/v1/models/scratch/detections"
KEY = {"Bucket": "sightloop-local-store", "Key": "trust/report_list.txt"}
SECONDS = 30  # from the ban to the refusal


def secret(stack: Stack) -> dict[str, Any]:
    held = stack.client("secretsmanager").get_secret_value(SecretId="sightloop-local")
    return dict(json.loads(held["SecretString"]))


def token(stack: Stack, user: str) -> dict[str, str]:
    claims = {"sub": user, "exp": time.time() + 600}
    made = jwt.encode(claims, secret(stack)["subjects_key"], "HS256")
    return {"Authorization": f"Bearer {made}", "Content-Type": "image/jpeg"}


@pytest.fixture
def ledger(stack: Stack) -> Iterator[Ledger]:
    port = json.loads((stack.home / "ports.json").read_text())["postgres"]
    password = (stack.home / "postgres.secret").read_text()
    database = Database(f"postgresql://sightloop:{password}@127.0.0.1:{port}/sightloop")
    yield Ledger(database)
    database.close()


def suspicious(user: str) -> Request:
    return Request(
        user_address=f"user:{user}",
        prediction_id=str(uuid.uuid4()),
        model="scratch",
        model_version=1,
        score=0.9,
        predicted_boxes=2,
        submitted_boxes=0,
        state="quarantined",
    )


def within_30_s(status: int, call: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        answer = call()
        if answer.status_code == status:
            return answer
        time.sleep(0.2)
    pytest.fail(f"not {status} within {SECONDS} s, but {answer.status_code}")


def test_the_eleventh_suspicious_request_shuts_out_and_lifting_lets_in_again(
    stack: Stack, ledger: Ledger, photo: bytes
) -> None:
    user = f"vandal-{uuid.uuid4()}"
    headers = token(stack, user)

    def detect() -> Any:
        return stack.post(DETECTIONS, data=photo, headers=headers)

    for _ in range(10):
        ledger.record(suspicious(user))
    assert detect().status_code == 200
    banned = ledger.record(suspicious(user)).banned_since

    refused = within_30_s(403, detect).json()
    assert banned is not None
    assert refused["since"] == banned.isoformat().replace("+00:00", "Z")
    assert stack.get("/v1/models", headers=headers).status_code == 200
    assert stack.post(DETECTIONS, data=photo, headers=token(stack, "ann")).status_code == 200
    assert stack.post(DETECTIONS, data=photo, headers={"Content-Type": "image/jpeg"}).ok

    ledger.lift(f"user:{user}", "ada", "a mistake")
    within_30_s(200, detect)


def test_a_ban_takes_a_contributors_labels_out_of_the_dataset_and_lifting_puts_them_back(
    stack: Stack, ledger: Ledger, photo: bytes
) -> None:
    user = "contributor"
    headers = token(stack, user)
    before = labels(stack)
    kept = stack.post(f"{DETECTIONS}?keep=true", data=photo, headers=headers).json()
    answer = {"prediction_id": kept["prediction_id"], "answer": "confirmed"}
    bearer = {"Authorization": headers["Authorization"]}
    sent = stack.post("/v1/models/scratch/submissions", json=answer, headers=bearer)
    assert (sent.status_code, sent.json()["state"]) == (201, "accepted")
    [made] = labels(stack) - before

    ledger.ban(f"user:{user}", "ada", "spam")
    until(lambda: made not in labels(stack))

    ledger.lift(f"user:{user}", "ada", "a mistake")
    until(lambda: made in labels(stack))


def labels(stack: Stack) -> set[str]:
    """Return the keys of the label files of the dataset."""
    below = {"Bucket": KEY["Bucket"], "Prefix": "models/scratch/labels/"}
    found = stack.client("s3").list_objects_v2(**below)
    return {each["Key"] for each in found.get("Contents", [])}


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_list_that_was_lost_is_written_again_when_the_stack_starts(
    stack: Stack, ledger: Ledger, photo: bytes
) -> None:
    user = f"vandal-{uuid.uuid4()}"
    headers = token(stack, user)
    tokens = secret(stack)["operators"]
    ledger.ban(f"user:{user}", "ada", "spam")
    within_30_s(403, lambda: stack.post(DETECTIONS, data=photo, headers=headers))
    stack.client("s3").delete_object(**KEY)
    stack.restart()

    assert secret(stack)["operators"] == tokens
    within_30_s(403, lambda: stack.post(DETECTIONS, data=photo, headers=headers))
    body = stack.client("s3").get_object(**KEY)["Body"].read()
    assert f"user:{user}\t".encode() in body
