"""Datasets over the API: what they are made of, their images, and versions of them."""

from __future__ import annotations

import gzip
import hashlib
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from chalicelib.labels.transfers.records import JobMessage, Kind, State
from chalicelib.labels.transfers.table import Transfers
from sagemaker.training.fetch_dataset import fetch

Caller = Callable[..., Any]
Operator = dict[str, str]
ADD_SAMPLE = """
INSERT INTO samples (model, sha256, extension, width, height, side, bits, joins, source_key,
                     published)
VALUES (%s, %s, 'jpg', 100, 200, %s, decode(repeat('00', 32), 'hex'), %s, %s, %s)
RETURNING sample_id
"""
ADD_LABEL = """
INSERT INTO labels (sample_id, yolo, boxes, origin, user_address, request_id)
VALUES (%s, %s, %s, 'submission', 'user:ann', 7) RETURNING label_id
"""
BOX = "1 0.5 0.5 0.2 0.1"


class Dataset:
    """A model's rows and files, as they are after people sent images."""

    def __init__(self, services: Any, model: str, folder: str) -> None:
        self._services = services
        self.model = model
        self.folder = folder

    def add(
        self, name: str, yolo: str | None = BOX, side: str = "train", joins: tuple[str, ...] = ()
    ) -> str:
        sha256 = digest(name)
        key = f"{self.folder}/images/{side}/{sha256}.jpg"
        self._services.store.put(key, name.encode(), "image/jpeg")
        given = (self.model, sha256, side, [digest(other) for other in joins], key, True)
        with self._services.database.transaction() as rows:
            rows.execute(ADD_SAMPLE, given)
            [(sample_id,)] = rows.fetchall()
        if yolo is not None:
            self.label(sample_id, yolo)
        return sha256

    def label(self, sample_id: int, yolo: str) -> None:
        with self._services.database.transaction() as rows:
            rows.execute(
                "UPDATE labels SET withdrawn_at = now(), withdrawn_why = 'replaced' "
                "WHERE sample_id = %s AND withdrawn_at IS NULL",
                (sample_id,),
            )
            rows.execute(ADD_LABEL, (sample_id, yolo, len(yolo.splitlines())))
            [(label_id,)] = rows.fetchall()
            rows.execute(
                "UPDATE samples SET label_id = %s WHERE sample_id = %s", (label_id, sample_id)
            )

    def relabel(self, sha256: str, yolo: str) -> None:
        with self._services.database.transaction() as rows:
            rows.execute(
                "SELECT sample_id FROM samples WHERE (model, sha256) = (%s, %s)",
                (self.model, sha256),
            )
            [(sample_id,)] = rows.fetchall()
        self.label(sample_id, yolo)

    @property
    def path(self) -> str:
        return f"/v1/models/{self.model}"


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


@pytest.fixture(params=["live", "pending"])
def dataset(
    request: pytest.FixtureRequest, stack: Any, gateway: Caller, make_model: Callable[..., bytes]
) -> Dataset:
    name = f"tags-{uuid.uuid4().hex}"
    if request.param == "live":
        stack.publish(make_model(), name)
        return Dataset(stack.services, name, f"models/{name}")
    stack.services.pending_models.ask(name, ["scratch", "dent"], uuid.uuid4().hex)
    return Dataset(stack.services, name, f"pending_models/{name}")


def test_a_new_dataset_is_empty(gateway: Caller, dataset: Dataset) -> None:
    told = gateway("GET", f"{dataset.path}/dataset").json

    assert (told["revision"], told["changed_at"]) == (0, None)
    assert told["training"]["images"] == told["validation"]["boxes"] == 0
    assert [each["class_name"] for each in told["training"]["classes"]] == ["scratch", "dent"]
    assert told["near_duplicates"] == {"clusters": 0, "images": 0, "leaking": 0}


def test_the_facts_are_for_everybody(gateway: Caller, dataset: Dataset) -> None:
    dataset.add("a", f"{BOX}\n1 0.5 0.5 0.9 0.9\n0 0.5 0.5 0.3 0.3")
    dataset.add("b", "", joins=("a",))
    dataset.add("c", BOX, "valid", joins=("b",))
    answer = gateway("GET", f"{dataset.path}/dataset")

    assert answer.status == 200
    training, validation = answer.json["training"], answer.json["validation"]
    assert (training["images"], training["without_boxes"], training["boxes"]) == (2, 1, 3)
    assert training["classes"][1] == {
        "class_id": 1,
        "class_name": "dent",
        "images": 1,
        "boxes": 2,
    }
    assert training["box_sizes"] == {"small": 1, "medium": 1, "large": 1}
    assert training["box_shares"] == [0, 0, 0, 0, 1, 0, 1, 1]
    assert training["origins"] == {"submission": 2}
    assert validation["images"] == 1
    assert answer.json["near_duplicates"] == {"clusters": 1, "images": 3, "leaking": 1}
    assert "user:ann" not in answer.body.decode()


@pytest.mark.parametrize(
    "path", ["dataset/images", f"dataset/images/{'0' * 64}", "dataset/clusters", "datasets"]
)
def test_images_are_for_operators(gateway: Caller, dataset: Dataset, path: str) -> None:
    assert gateway("GET", f"{dataset.path}/{path}").status == 401


def test_images_come_in_pages(gateway: Caller, dataset: Dataset, as_operator: Operator) -> None:
    names = [dataset.add(f"{n}", BOX, "valid" if n % 3 == 0 else "train") for n in range(7)]
    dataset.add("without a label", None)
    seen, page = [], {"next": 0}
    while page["next"] is not None:
        target = f"{dataset.path}/dataset/images?limit=3&after={page['next']}"
        page = gateway("GET", target, **as_operator).json
        seen += [image["sha256"] for image in page["images"]]
    assert seen == names

    some = gateway("GET", f"{dataset.path}/dataset/images?side=valid", **as_operator).json
    assert [image["sha256"] for image in some["images"]] == names[::3]


def test_images_are_found_by_class(
    gateway: Caller, dataset: Dataset, as_operator: Operator
) -> None:
    dataset.add("a", "0 0.5 0.5 0.1 0.1")
    both = dataset.add("b", "0 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1")
    changed = dataset.add("c", "1 0.5 0.5 0.1 0.1")
    dataset.relabel(changed, "")

    page = gateway("GET", f"{dataset.path}/dataset/images?class=1", **as_operator).json

    assert [image["sha256"] for image in page["images"]] == [both]


def test_the_history_of_an_image_tells_who_said_what(
    gateway: Caller, dataset: Dataset, as_operator: Operator
) -> None:
    sha256 = dataset.add("a", BOX)
    dataset.relabel(sha256, "")

    told = gateway("GET", f"{dataset.path}/dataset/images/{sha256}", **as_operator).json

    newer, older = told["labels"]
    assert (newer["current"], older["current"]) == (True, False)
    assert (newer["boxes"], newer["withdrawn_why"]) == ([], None)
    assert (older["user"], older["submission_id"]) == ("user:ann", 7)
    assert older["withdrawn_why"] == "replaced"
    assert older["withdrawn_at"] >= older["created_at"]
    assert older["terms"] == [
        {"began": older["terms"][0]["began"], "ended": newer["terms"][0]["began"]}
    ]
    assert newer["terms"][0]["ended"] is None
    assert older["boxes"] == [
        {
            "class_id": 1,
            "class_name": "dent",
            "box": {"x1": 40.0, "y1": 90.0, "x2": 60.0, "y2": 110.0},
        }
    ]
    assert read(told["links"]["image"]) == b"a"
    assert told["links"]["self"].endswith(f"/dataset/images/{sha256}")


def test_an_image_that_never_was_there_is_not_found(
    gateway: Caller, dataset: Dataset, as_operator: Operator
) -> None:
    answer = gateway("GET", f"{dataset.path}/dataset/images/{'0' * 64}", **as_operator)

    assert (answer.status, answer.json["type"]) == (404, "urn:sightloop:problem:image-not-found")


def test_images_that_look_alike_are_shown_together(
    gateway: Caller, dataset: Dataset, as_operator: Operator
) -> None:
    pair = {dataset.add("a"), dataset.add("b", joins=("a",))}
    leaking = {dataset.add("c"), dataset.add("d", BOX, "valid", joins=("c",))}
    dataset.add("alone")

    def clusters(query: str) -> list[set[str]]:
        told = gateway("GET", f"{dataset.path}/dataset/clusters?{query}", **as_operator).json
        return [{image["sha256"] for image in each["images"]} for each in told["clusters"]]

    assert clusters("") == [pair, leaking]
    assert clusters("leaking=true") == [leaking]
    assert clusters("limit=1") == [pair]


def test_a_version_can_be_named_and_reproduced(
    gateway: Caller, stack: Any, dataset: Dataset, as_operator: Operator, tmp_path: Path
) -> None:
    first = dataset.add("a", BOX)
    dataset.add("b", "", "valid")
    dataset.add("c", BOX, "valid", joins=("a",))
    dataset.add("without a label", None)
    cut = gateway("POST", f"{dataset.path}/datasets", **as_operator)
    assert cut.status == 201
    assert cut.headers["location"] == cut.json["links"]["self"]
    told = cut.json
    counts = {key: told[key] for key in ("training", "validation", "leaking", "boxes")}
    assert counts == {"training": 1, "validation": 2, "leaking": 1, "boxes": 2}

    packed = read(told["links"]["manifest"])
    assert hashlib.sha256(gzip.decompress(packed)).hexdigest() == told["sha256"]
    made = fetch(stack.services.store, dataset.model, told["sha256"], tmp_path / "data")
    assert (made.train, made.valid, made.left_out) == (1, 1, 1)
    assert (tmp_path / f"data/images/train/{first}.jpg").read_bytes() == b"a"


def test_the_same_content_is_the_same_version(
    gateway: Caller, dataset: Dataset, as_operator: Operator
) -> None:
    sha256 = dataset.add("a", BOX)
    first, again = (gateway("POST", f"{dataset.path}/datasets", **as_operator) for _ in range(2))
    assert (first.status, again.status) == (201, 200)
    assert first.json["sha256"] == again.json["sha256"]

    dataset.relabel(sha256, "")
    other = gateway("POST", f"{dataset.path}/datasets", **as_operator)
    assert (other.status, other.json["sha256"] == first.json["sha256"]) == (201, False)
    listed = gateway("GET", f"{dataset.path}/datasets", **as_operator).json["versions"]
    assert [each["sha256"] for each in listed] == [other.json["sha256"], first.json["sha256"]]
    shown = gateway("GET", f"{dataset.path}/datasets/{first.json['sha256']}", **as_operator).json
    assert shown["revision"] == first.json["revision"]


def test_a_version_of_a_large_dataset_is_written_down_by_a_worker(
    gateway: Caller,
    stack: Any,
    dataset: Dataset,
    as_operator: Operator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chalicelib.labels.datasets.routes.CUT_AT_ONCE", 1)
    for name in "ab":
        dataset.add(name, BOX)
    asked = gateway("POST", f"{dataset.path}/datasets", **as_operator)
    assert (asked.status, asked.json["state"], asked.headers["retry-after"]) == (202, "queued", "2")
    path = f"/v1/cuts/{asked.json['cut_id']}"
    assert asked.headers["location"] == asked.json["links"]["self"] == f"/api{path}"

    message = JobMessage(kind=Kind.CUT, id=asked.json["cut_id"])
    for _ in range(2):  # the second delivery finds nothing to do
        stack.services.transfer_worker.work(message, lambda: 900)

    shown = gateway("GET", path, **as_operator)
    assert (shown.status, shown.json["state"], shown.json["is_new"]) == (200, "done", True)
    assert "retry-after" not in shown.headers
    named = shown.json["links"]["version"].removeprefix("/api")
    version = gateway("GET", named, **as_operator).json
    assert (version["sha256"], version["training"]) == (shown.json["sha256"], 2)
    assert len(gzip.decompress(read(version["links"]["manifest"])).splitlines()) == 3


def test_a_cut_whose_worker_died_is_done_by_the_next(
    gateway: Caller,
    stack: Any,
    dataset: Dataset,
    as_operator: Operator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chalicelib.labels.datasets.routes.CUT_AT_ONCE", 0)
    dataset.add("a", BOX)
    asked = gateway("POST", f"{dataset.path}/datasets", **as_operator).json
    table = Transfers(stack.services.database, lease_seconds=0)
    held = table.take(asked["cut_id"])
    table.save(held, state=State.BUILDING)  # and there it dies
    message = JobMessage(kind=Kind.CUT, id=asked["cut_id"])

    stack.services.transfer_worker.work(message, lambda: 900)

    assert gateway("GET", f"/v1/cuts/{asked['cut_id']}", **as_operator).json["state"] == "done"
    listed = gateway("GET", f"{dataset.path}/datasets", **as_operator).json["versions"]
    assert [each["training"] for each in listed] == [1]


def test_a_cut_is_for_operators(gateway: Caller, as_operator: Operator) -> None:
    path = f"/v1/cuts/{uuid.uuid4()}"
    assert gateway("GET", path).status == 401
    assert gateway("GET", path, **as_operator).status == 404


def test_a_version_whose_file_was_lost_is_written_again(
    gateway: Caller, stack: Any, dataset: Dataset, as_operator: Operator
) -> None:
    dataset.add("a")
    told = gateway("POST", f"{dataset.path}/datasets", **as_operator).json
    stack.services.store.delete(f"datasets/{dataset.model}/{told['sha256']}.jsonl.gz")

    assert gateway("POST", f"{dataset.path}/datasets", **as_operator).status == 200
    assert read(told["links"]["manifest"])


@pytest.mark.parametrize("path", ["dataset", "datasets", "dataset/images", "dataset/clusters"])
def test_a_model_that_nobody_knows_has_no_dataset(
    gateway: Caller, as_operator: Operator, path: str
) -> None:
    answer = gateway("GET", f"/v1/models/nobodys/{path}", **as_operator)

    assert answer.status == 404
    assert answer.json["type"] == "urn:sightloop:problem:model-not-found"


@pytest.mark.parametrize("query", ["side=test", "class=-1", "limit=0", "after=x", "page=2"])
def test_a_question_that_cannot_be_is_refused(
    gateway: Caller, dataset: Dataset, as_operator: Operator, query: str
) -> None:
    answer = gateway("GET", f"{dataset.path}/dataset/images?{query}", **as_operator)

    assert (answer.status, len(answer.json["faults"])) == (400, 1)


def read(link: str) -> bytes:
    return requests.get(link, timeout=10).content


def test_lines_of_a_manifest_are_what_the_rows_say(
    gateway: Caller, dataset: Dataset, as_operator: Operator
) -> None:
    sha256 = dataset.add("a", BOX)
    told = gateway("POST", f"{dataset.path}/datasets", **as_operator).json
    head, line = gzip.decompress(read(told["links"]["manifest"])).splitlines()

    assert json.loads(head)["class_names"] == ["scratch", "dent"]
    image = json.loads(line)
    assert image.pop("label_id") > 0
    assert image == {
        "sha256": sha256,
        "extension": "jpg",
        "side": "train",
        "width": 100,
        "height": 200,
        "label": BOX,
        "leaking": False,
    }
