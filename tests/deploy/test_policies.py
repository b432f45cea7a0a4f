"""Every function may do what it does, and nothing else.

The functions run against the stand-in with clients that note each call. Each call has to be allowed
by its function's policy, and each thing that a policy allows has to be needed by some call.
"""

from __future__ import annotations

import base64
import io
import json
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import pytest
from chalice.local import LambdaContext
from PIL import Image

from app import app
from chalicelib import wiring
from chalicelib.bot import parts, words
from chalicelib.catalog.model import version_key
from chalicelib.errors import Conflict
from chalicelib.idempotency import Lease
from chalicelib.predictions.keys import image_key
from chalicelib.predictions.messages import IdentifyMessage
from chalicelib.predictions.model import ArrivedFile, State
from chalicelib.retrain.job import Terms
from chalicelib.retrain.keys import output_key
from chalicelib.retrain.messages import Finished, parse_report
from chalicelib.wiring import Services
from deploy.policies import policy
from deploy.record import WORKERS, queue_of
from deploy.resources import ensure
from deploy.secret import held, keep, keep_database_url
from deploy.stages import DEFAULTS, FUNCTIONS, Stage
from local.telegram.server import Server as TelegramServer
from local.telegram.world import Refused, World

ROOT = Path(__file__).parent.parent.parent
CONTRIBUTOR = "203.0.113.7"  # from where the recorded event came
Cloud = Any
Events = Callable[..., dict[str, Any]]
Statement = dict[str, Any]
ASKED_AS = {
    "HeadObject": "GetObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
}
# Of datasets: what one of them needs, all may.
KEEPERS = (
    *("api_handler", "converse", "on_training_report", "reconcile"),
    *("update_reported_list", "work_jobs"),
)
FOLDERS = (
    *("uploads", "models", "pending_models", "predictions", "datasets"),
    *("quarantine", "parked", "imports", "exports", "training", "senders", "deletions"),
)
BELOW_A_FOLDER = ("/model.yaml", "/versions/*", "/images/*", "/labels/*", "/order.json")
BOT = {
    "token": "7000000001:stand-in",
    "webhook_secret": "known-to-telegram",
    "name": "sightloop_bot",
    "page_url": "https://sightloop.example/api/",
}
PATH_PARAMETERS = ("model", "version", "prediction_id", "export_id", "job_id")
SERVICES = ("s3", "sqs", "dynamodb", "secretsmanager")

SCHEDULED = {
    **dict.fromkeys(("version", "account", "time", "region", "source", "id"), ""),
    "detail-type": "Scheduled Event",
    "resources": [],
    "detail": {},
}
ADD_LABELLED = """
WITH sample AS (
    INSERT INTO samples (model, sha256, extension, width, height, side, bits, source_key, published)
    VALUES ('trained', %s, 'jpg', 64, 64, %s, decode(repeat('00', 32), 'hex'), 'gone', true)
    RETURNING sample_id),
label AS (
    INSERT INTO labels (sample_id, yolo, boxes, origin)
    SELECT sample_id, '', 0, 'import' FROM sample RETURNING label_id, sample_id)
SELECT label_id, sample_id FROM label
"""


def _be_away(method: str) -> None:
    raise Refused(502, "Bad Gateway")


def _be_calm(method: str) -> None:
    """Let Telegram do what it is asked for."""


@dataclass(frozen=True)
class Call:
    """What one call to AWS needs to be allowed."""

    action: str
    resource: str
    prefix: str | None = None
    about: str = ""  # the key that was looked for, where S3 has to say that it is missing


class Witness:
    """Makes clients that note what is called through them."""

    def __init__(self, cloud: Cloud, stage: Stage) -> None:
        self._cloud = cloud
        self._stage = stage
        self.calls: list[Call] = []
        self.clients = {name: self._client(name) for name in SERVICES}

    def _client(self, service: str) -> Any:
        region, endpoint = self._stage.region, self._cloud.endpoint
        client = boto3.client(service, region_name=region, endpoint_url=endpoint)
        client.meta.events.register("provide-client-params", self._asked)
        client.meta.events.register("after-call", self._answered)
        return client

    def _asked(self, params: Any, model: Any, context: Any, **_: Any) -> None:
        context["asked"] = params
        signs_a_form = model.name == "CreateBucket"  # what it lets in is noted by the story
        signs_to_learn_the_host = params.get("Key") == "x"
        if signs_a_form or signs_to_learn_the_host:
            return
        self.calls.extend(self._needed(model.service_model.service_name, model.name, params))

    def _answered(self, http_response: Any, model: Any, context: Any, **_: Any) -> None:
        if model.service_model.service_name == "s3" and http_response.status_code == 404:
            asked = context["asked"]
            bucket = self._stage.bucket_arn(asked["Bucket"])
            source = urllib.parse.unquote(str(asked.get("CopySource", ""))).partition("/")[2]
            self.calls.append(Call("s3:ListBucket", bucket, about=source or asked["Key"]))

    def _needed(self, service: str, operation: str, asked: dict[str, Any]) -> Iterator[Call]:
        """Yield what IAM asks for before it lets an operation through."""
        if service == "dynamodb":
            for table in asked.get("RequestItems", [asked.get("TableName")]):
                yield Call(f"dynamodb:{operation}", self._stage.arn("dynamodb", f"table/{table}"))
        elif service == "sqs":
            queue = asked.get("QueueName") or asked["QueueUrl"].rpartition("/")[2]
            yield Call(f"sqs:{operation}", self._stage.arn("sqs", queue))
        elif service == "secretsmanager":
            name = f"secret:{asked['SecretId']}-Ab12Cd"
            yield Call(f"secretsmanager:{operation}", self._stage.arn(service, name))
        elif operation == "ListObjectsV2":
            bucket = self._stage.bucket_arn(asked["Bucket"])
            yield Call("s3:ListBucket", bucket, prefix=asked["Prefix"])
        elif operation == "ListObjectVersions":
            bucket = self._stage.bucket_arn(asked["Bucket"])
            yield Call("s3:ListBucketVersions", bucket, prefix=asked["Prefix"])
        elif operation == "DeleteObject" and asked.get("VersionId"):
            resource = self._stage.bucket_arn(asked["Bucket"], asked["Key"])
            yield Call("s3:DeleteObjectVersion", resource)
        elif operation == "CopyObject":
            source = asked["CopySource"]
            read = self._stage.bucket_arn(source["Bucket"], source["Key"])
            yield Call("s3:GetObject", read)
            yield Call("s3:PutObject", self._stage.bucket_arn(asked["Bucket"], asked["Key"]))
        else:
            action = ASKED_AS.get(operation, operation) + "Version" * ("VersionId" in asked)
            yield Call(f"s3:{action}", self._stage.bucket_arn(asked["Bucket"], asked["Key"]))


class Story:
    """Everything that the functions ever do, done once."""

    def __init__(
        self,
        cloud: Cloud,
        stage: Stage,
        api_event: Events,
        photo: bytes,
        onnx: bytes,
        database_url: str,
    ) -> None:
        self.stage = stage
        self._onnx = onnx
        self.did: dict[str, list[Call]] = {name: [] for name in FUNCTIONS}
        self._api_event = api_event
        self._photo = photo
        self._admin = cloud.in_region(stage.region)
        self._witness = Witness(cloud, stage)
        self._later = timedelta()
        self.arrived: set[str] = set()
        self.put_off: set[str] = set()
        ensure(stage.settings, self._admin)
        secret = stage.settings.secret_name
        keep_database_url(self._admin("secretsmanager"), secret, database_url)
        bundled = ROOT / "models/scratch"
        services = Services(stage.settings, {"s3": self._admin("s3")})
        onnx, metrics = bundled / "model.onnx", bundled / "metrics.json"
        services.publisher.publish("scratch", onnx.read_bytes(), metrics.read_bytes())

    def tell(self) -> None:
        self._people_call()
        self._people_correct()
        self._zips_come_and_go()
        self._files_arrive()
        self._results_are_read()
        self._somebody_chats()
        self._somebody_is_banned()
        self._a_model_is_trained()
        self._a_version_is_promoted()
        self._people_delete()
        self._much_is_lost()
        for source in ("quarantine", "predictions"):
            self._images_are_gone(f"{source}/gone.jpg")
            self._the_contributor_is_banned_and_let_in()

    def _people_call(self) -> None:
        with_photo = {
            "body": base64.b64encode(self._photo).decode(),
            "isBase64Encoded": True,
            "headers": {"Content-Type": "image/jpeg"},
        }
        for path in ("/", "/healthz", "/v1/models"):
            assert self._ask("GET", path)["statusCode"] == 200
        assert self._ask("GET", "/v1/models/{model}", model="scratch")["statusCode"] == 200
        assert self._ask("GET", "/v1/models/{model}", model="nope")["statusCode"] == 404
        kept = {"multiValueQueryStringParameters": {"keep": ["true"]}}
        detected = self._ask(
            "POST", "/v1/models/{model}/detections", model="scratch", **with_photo, **kept
        )
        assert detected["statusCode"] == 200
        self.kept = json.loads(_body(detected))["prediction_id"]
        stranger = with_photo | {"headers": {"Authorization": "Bearer not-known-here"}}
        refused = self._ask("POST", "/v1/models/{model}/detections", model="scratch", **stranger)
        assert refused["statusCode"] == 401
        token = self._services().secrets.read().operators["operator"]
        as_operator = {"headers": {"Authorization": f"Bearer {token}"}}
        cut = self._ask("POST", "/v1/models/{model}/datasets", model="scratch", **as_operator)
        assert cut["statusCode"] == 201
        wanted = {"model": "scratch", "file_name": "tag.jpg", "content_type": "image/jpeg"}
        headers = {"Content-Type": "application/json"}
        offered = self._ask("POST", "/v1/uploads", body=json.dumps(wanted), headers=headers)
        assert offered["statusCode"] == 201, _body(offered)
        form = json.loads(_body(offered))["upload"]
        bucket, key = self.stage.settings.uploads_bucket, form["fields"]["key"]
        self.did["api_handler"].append(Call("s3:PutObject", self.stage.bucket_arn(bucket, key)))
        self.offered = key
        self._calls_are_sent_again(json.dumps(wanted), headers)

    def _calls_are_sent_again(self, body: str, headers: dict[str, str]) -> None:
        """One that is answered as before, and one whose key is free again."""
        keyed = {**headers, "Idempotency-Key": "6f0c1a52-6f7e-4d5e-9a57-2d0f3c1b7a11"}
        answers = [self._ask("POST", "/v1/uploads", body=body, headers=keyed) for _ in range(2)]
        assert _body(answers[0]) == _body(answers[1])
        keys = self._services().idempotency_keys
        self._witness.calls.clear()
        lease = keys.begin("a-key", "a-request")
        assert isinstance(lease, Lease)
        keys.release(lease)
        self.did["api_handler"] += self._witness.calls

    def _people_correct(self) -> None:
        """Boxes of a model that serves and of one that is asked for: in, out and in again."""
        services = self._services()
        services.pending_models.ask("bolts", ["bolt"], "ann")
        unseen = services.keeper.keep_unseen("bolts", self._photo, "a-call")
        self.unseen = unseen.prediction_id
        self._review(self._submit("scratch", self.kept, "empty"), "accepted")
        other, gone, last = (
            self._keep("scratch", self._another_photo(shade)) for shade in (210, 220, 230)
        )
        for model, prediction_id in (("scratch", other), ("bolts", unseen.prediction_id)):
            submission = self._submit(model, prediction_id, "confirmed")
            for decision in ("rejected", "accepted"):
                self._review(submission, decision)
        held = services.ledger.get(self._submit("scratch", gone, "empty"))
        services.store.delete(held.detail["image"]["key"])
        with pytest.raises(Conflict, match="gone"):
            self._review(held.request_id, "accepted")
        self._submit("scratch", last, "confirmed")

    def _submit(self, model: str, prediction_id: str, answer: str, **more: Any) -> int:
        path, headers = "/v1/models/{model}/submissions", {"Content-Type": "application/json"}
        body = json.dumps({"prediction_id": prediction_id, "answer": answer, **more})
        told = self._ask("POST", path, model=model, body=body, headers=headers)
        assert told["statusCode"] == 201, _body(told)
        return int(json.loads(_body(told))["submission_id"])

    def _review(self, submission: int, decision: Any) -> None:
        """Do what the route of operators does."""
        services = self._services()
        seen = services.ledger.get(submission).updated_at
        self._witness.calls.clear()
        try:
            services.submissions.review(submission, seen, decision, "ada", "test")
        finally:
            self.did["api_handler"] += self._witness.calls

    def _zips_come_and_go(self) -> None:
        """Of a model that serves and of one that is asked for; a ZIP that is gone, an image too."""
        told = {"Content-Type": "application/json"}
        body = json.dumps({"name": "tags", "classes": ["dent"]})
        assert self._ask("POST", "/v1/pending-models", body=body, headers=told)["statusCode"] == 201
        token = self._services().secrets.read().operators["operator"]
        told |= {"Authorization": f"Bearer {token}"}
        for path, model in (("pending-models", "tags"), ("models", "scratch")):
            self._zip_comes(f"/v1/{path}/{{model}}/imports", model, told)
        self._zip_comes("/v1/models/{model}/imports", "scratch", told, is_gone=True)
        assert self._zip_goes(told)["state"] == "done"
        assert self._services().transfers.ask_for_cut("tags", "ada").kind == "cut"
        self._work_jobs()
        assert self._services().dataset_versions.newest("tags", 1)
        store = self._services().store
        for key in [*store.keys("pending_models/tags/images/")]:
            store.delete(key)
        assert self._zip_goes(told)["state"] == "failed"

    def _zip_comes(
        self, path: str, model: str, headers: dict[str, str], is_gone: bool = False
    ) -> None:
        offered = self._ask("POST", path, model=model, body="{}", headers=headers)
        assert offered["statusCode"] == 201, _body(offered)
        key = json.loads(_body(offered))["upload"]["fields"]["key"]
        bucket = self.stage.settings.uploads_bucket
        self.did["api_handler"].append(Call("s3:PutObject", self.stage.bucket_arn(bucket, key)))
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("a.jpg", self._photo + b".")
            archive.writestr("a.txt", "")
        self._admin("s3").put_object(Bucket=bucket, Key=key, Body=packed.getvalue())
        self._call("on_import", self._s3_event(key, names_version=not is_gone))
        if is_gone:
            self._admin("s3").delete_object(Bucket=bucket, Key=key)
        else:
            self._admin("s3").put_object(Bucket=bucket, Key=key, Body=b"another")
            self._call("on_import", self._s3_event(key))
        self._work_jobs()
        shown = self._services().transfers.find(key.split("/")[2], "import")
        assert shown.state == ("failed" if is_gone else "done"), shown

    def _zip_goes(self, headers: dict[str, str]) -> dict[str, Any]:
        path, body = "/v1/models/{model}/exports", json.dumps({"format": "yolo"})
        asked = self._ask("POST", path, model="tags", body=body, headers=headers)
        assert asked["statusCode"] == 201, _body(asked)
        self._work_jobs()
        export_id = json.loads(_body(asked))["export_id"]
        path = "/v1/exports/{export_id}"
        shown = self._ask("GET", path, export_id=export_id, headers=headers)
        return dict(json.loads(_body(shown)))

    def _work_jobs(self) -> None:
        """Once in a call that has time for a slice at most, and then to the end."""
        for seconds in (0, 900):
            for record in self._sqs_records(self.stage.settings.jobs_queue):
                context = LambdaContext("work_jobs", 3008, max_runtime_ms=seconds * 1000)
                self._call("work_jobs", {"Records": [record]}, context)

    def _files_arrive(self) -> None:
        """One that was asked for, one for a model that is not there, one that is gone again."""
        for key in (self.offered, "uploads/nope/a.jpg", "uploads/scratch/gone.jpg"):
            self._put(key)
            self._call("on_upload", self._s3_event(key, names_version=key == self.offered))
        self._put(self.offered)
        self._call("on_upload", self._s3_event(self.offered))
        gone = {"Bucket": self.stage.settings.uploads_bucket, "Key": "uploads/scratch/gone.jpg"}
        self._admin("s3").delete_object(**gone)
        records = self._sqs_records()
        assert len(records) == 3
        self._identify(records, seconds=0)  # two are given back, and received once more
        records = self._sqs_records()
        records[-1]["attributes"]["ApproximateReceiveCount"] = "99"
        self._identify(records, seconds=0)  # the last one is sent anew
        self._identify(self._sqs_records(), seconds=120)

    def _identify(self, records: list[dict[str, Any]], seconds: int) -> None:
        context = LambdaContext("identify", 3008, max_runtime_ms=seconds * 1000)
        self._call("identify", {"Records": records}, context)

    def _results_are_read(self) -> None:
        """A result that is in its record, and one that was too long for it and is gone."""
        found = self._ask(
            "GET", "/v1/predictions/{prediction_id}", prediction_id=self.offered.split("/")[2]
        )
        assert json.loads(_body(found))["state"] == State.DONE
        table = self._services().predictions_table
        held = table.find(self.offered.split("/")[2])
        assert held is not None
        elsewhere = f"predictions/{held.prediction_id}/result.json"
        changed = held.model_copy(update={"result": None, "result_key": elsewhere})
        table.update(held, lambda _: changed)
        self._witness.calls.clear()
        path = "/v1/predictions/{prediction_id}"
        assert self._ask("GET", path, prediction_id=held.prediction_id)["statusCode"] == 404

    def _somebody_chats(self) -> None:
        """A photo with its answer; an album; boxes that are right, and none that are there."""
        world = World(deliver=self._update_arrives)
        server = TelegramServer(world, BOT["token"])
        try:
            self._register_bot(server.url)
            world.send_photo(42, self._photo, "predict scratch")
            world.send_album(42, [self._photo, self._photo], "concat")
            self._bot_works(world, lambda: sum("photo" in said for said in world.from_bot(42)) == 2)
            found = next(said for said in world.from_bot(42) if "reply_markup" in said)
            for pressed, [button] in enumerate(found["reply_markup"]["inline_keyboard"][:2], 1):
                world.press(42, found["message_id"], button["callback_data"])
                self._bot_works(world, lambda pressed=pressed: len(world.toasts) == pressed)
            self._answers_are_gone(world)
        finally:
            parts.telegram(BOT["token"], server.url).close()
            server.stop()

    def _answers_are_gone(self, world: World) -> None:
        """The picture of one; the model of another."""
        services, before = Services(self.stage.settings, {"s3": self._admin("s3")}), {*self.arrived}
        services.publisher.publish("fleeting", self._onnx, b"{}")
        for chat, model in ((43, "scratch"), (44, "fleeting")):
            world.send_photo(chat, self._photo, f"predict {model}")
        self._bot_works(world, lambda: self._found(before) == 2, without="reply")
        [of_scratch] = [key for key in self.arrived - before if "/scratch/" in key]
        services.store.delete(f"predictions/{of_scratch.split('/')[2]}/annotated.jpg")
        services.store.delete("models/fleeting/model.yaml")
        self._bot_works(
            world, lambda: all(world.from_bot(c)[-1]["text"] == words.EXPIRED for c in (43, 44))
        )

    def _found(self, before: set[str]) -> int:
        """Return how many of the bot's newest uploads have their answer."""
        predictions = self._services().predictions
        views = [predictions.read(key.split("/")[2]) for key in self.arrived - before]
        return sum(view.prediction.state is State.DONE for view in views)

    def _register_bot(self, url: str) -> None:
        chosen = {**self.stage.changed, "telegram_api": url}
        self.stage = self.stage.model_copy(update={"changed": chosen})
        manager, secret = self._admin("secretsmanager"), self.stage.settings.secret_name
        keep(manager, secret, {**(held(manager, secret) or {}), "telegram": BOT})

    def _update_arrives(self, update: dict[str, Any]) -> None:
        headers = {
            "Content-Type": "application/json",
            "X-Telegram-Bot-Api-Secret-Token": BOT["webhook_secret"],
        }
        body = json.dumps(update)
        taken = self._ask("POST", "/v1/telegram/webhook", body=body, headers=headers)
        assert taken["statusCode"] == 200, _body(taken)

    def _bot_works(self, world: World, is_done: Callable[[], bool], without: str = "") -> None:
        """Let messages and files go round until something is done, but for one function."""
        settings = self.stage.settings
        fed = {
            "converse": settings.bot_queue,
            "identify": settings.identify_queue,
            "reply": settings.results_queue,
        }
        for _ in range(60):
            for function in fed.keys() - {without}:
                for record in self._sqs_records(fed[function], wait_seconds=1):
                    self._have_handled(world, function, record)
                self._what_the_bot_uploads_arrives()
            if is_done():
                return
        raise AssertionError("the bot did not answer")

    def _have_handled(self, world: World, function: str, record: dict[str, Any]) -> None:
        """Once, for each function, Telegram is away, and then busy: the message comes again."""
        world.trouble = _be_calm if function in self.put_off else _be_away
        failed = self._call(function, {"Records": [record]})
        world.trouble = _be_calm
        if failed and failed["batchItemFailures"]:
            self.put_off.add(function)
            world.busy = 1
            failed = self._call(function, {"Records": [record]})
            assert world.busy == 0, record
        assert failed == {"batchItemFailures": []}, record

    def _what_the_bot_uploads_arrives(self) -> None:
        bucket = self.stage.settings.uploads_bucket
        for call in self.did["converse"]:
            key = call.resource.partition(f"{bucket}/")[2]
            if call.action == "s3:PutObject" and key and key not in self.arrived:
                self.arrived.add(key)
                self._call("on_upload", self._s3_event(key))

    def _somebody_is_banned(self) -> None:
        """The first of all, and another after that."""
        for user in ("vandal", "another"):
            self._services().ledger.ban(user, "ada", "spam")
            self._call("update_reported_list", {})
        bolt = {"class_id": 0, "box": {"x1": 10, "y1": 10, "x2": 60, "y2": 60}}
        unseen = self._services().keeper.keep_unseen("bolts", self._another_photo(240), "a-call")
        self._submit("bolts", unseen.prediction_id, "corrected", boxes=[bolt])
        self._the_contributor_is_banned_and_let_in()

    def _the_contributor_is_banned_and_let_in(self) -> None:
        ledger = self._services().ledger
        for decide in (ledger.ban, ledger.lift):
            decide(CONTRIBUTOR, "ada", "test")
            self._call("update_reported_list", {})

    def _people_delete(self) -> None:
        """What is in a dataset, parked or in quarantine, and what comes too late."""
        services = self._services()
        parked, waiting, pending = (self._another_photo(shade) for shade in (40, 90, 140))
        kept = self._keep("scratch", parked)
        submission = self._submit("scratch", kept, "confirmed")
        for decision in ("accepted", "rejected"):  # its image is parked then
            self._review(submission, decision)
        self._submit("scratch", self._keep("scratch", waiting), "empty")
        unseen = services.keeper.keep_unseen("bolts", pending, "a-call").prediction_id
        self._review(self._submit("bolts", unseen, "confirmed"), "accepted")
        path, id_of_upload = "/v1/predictions/{prediction_id}", self.offered.split("/")[2]
        record = services.predictions_table.find(id_of_upload)
        arrived = ArrivedFile(record.key, "etag", services.now())
        message = IdentifyMessage.of(record, arrived).model_dump_json()
        for prediction_id in (kept, unseen, id_of_upload):
            deleted = self._ask("DELETE", path, prediction_id=prediction_id)
            assert deleted["statusCode"] == 200, _body(deleted)
        while True:  # 202: a busy machine does not get through in one call
            deleted = self._ask("DELETE", "/v1/contributions", headers=self._as_operator())
            if deleted["statusCode"] != 202:
                break
        assert deleted["statusCode"] == 200, _body(deleted)
        self._put(self.offered)
        self._call("on_upload", self._s3_event(self.offered))
        self._admin("s3").put_object(
            Bucket=self.stage.settings.store_bucket, Key=image_key(id_of_upload), Body=b"late"
        )
        self._send(self.stage.settings.identify_queue, message)
        self._call("identify", {"Records": self._sqs_records()})
        services.deletions._parts.orders.place("user:ann", services.now())

    def _as_operator(self) -> dict[str, str]:
        token = self._services().secrets.read().operators["operator"]
        return {"Authorization": f"Bearer {token}", "Content-Type": "image/jpeg"}

    def _another_photo(self, shade: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (64, 64), (shade, shade, shade)).save(buffer, "JPEG")
        return buffer.getvalue()

    def _keep(self, model: str, photo: bytes) -> str:
        """Keep a photo of an operator's."""
        answer = self._ask(
            "POST",
            "/v1/models/{model}/detections",
            model=model,
            body=base64.b64encode(photo).decode(),
            isBase64Encoded=True,
            headers=self._as_operator(),
            multiValueQueryStringParameters={"keep": ["true"]},
        )
        assert answer["statusCode"] == 200, _body(answer)
        return str(json.loads(_body(answer))["prediction_id"])

    def _much_is_lost(self) -> None:
        """An event, a message, a worker with its message, an announcement, the report list."""
        for key in ("uploads/scratch/message.jpg", "uploads/scratch/worker.jpg"):
            self._put(key)
            self._call("on_upload", self._s3_event(key))
        dead = next(each for each in self._sqs_records() if "worker.jpg" in each["body"])
        self._send(f"{self.stage.settings.identify_queue}-dlq", dead["body"])
        self._put("uploads/scratch/event.jpg")
        self._later = timedelta(hours=2)
        self._a_job_is_lost()
        self._services().ledger.ban("announced-and-lost", "ada", "spam")
        self._services().store.delete("trust/report_list.txt")
        self._services().store.put(f"quarantine/{'0' * 64}.jpg", b"", "image/jpeg")
        behind = self._datasets_are_behind()
        event = SCHEDULED
        done = self._call("reconcile", event)
        assert done == {**done, "driven": 2, "given_up": 1, "banned": 3, "published": behind}
        # Cleared are an accepted image, which is in the dataset by now, and a stray one.
        assert (done["transfers"], done["cleared"]) == (1, 2)
        behind = self._labels(lambda rows, dataset, ids: dataset.restore(rows, ids))
        assert self._call("reconcile", event)["published"] == behind
        for source in ("quarantine", "predictions"):
            self._images_are_gone(f"{source}/gone.jpg")
            assert self._call("reconcile", event)["published"] == 0

    def _datasets_are_behind(self) -> int:
        """Labels were taken back, and their files are there still; return of how many images."""
        return self._labels(lambda rows, dataset, ids: dataset.withdraw(rows, ids, "rejected"))

    def _a_model_is_trained(self) -> None:
        """Asked for, ordered, launched as far as this stage can, cancelled, reported."""
        services, queue = self._services(), self.stage.settings.training_queue
        services.pending_models.ask("trained", ["dent"], "ann")
        for number, side in enumerate(("train", "valid")):
            with services.database.transaction() as rows:
                rows.execute(ADD_LABELLED, (str(number) * 64, side))
                [pair] = rows.fetchall()
                rows.execute("UPDATE samples SET label_id = %s WHERE sample_id = %s", pair)
        terms = Terms.of(None, self.stage.settings)
        made = services.training.jobs.create("trained", terms, "sagemaker", "ada", "test")
        assert made
        here = {"job_id": str(made.job_id)}
        shown = self._ask("GET", "/v1/training-jobs/{job_id}", **here)
        assert shown["statusCode"] == 200, _body(shown)
        assert self._call("plan", SCHEDULED)["jobs"] == 1
        [waits] = self._take_reports()
        assert (waits.state, bool(waits.dataset_sha256), bool(waits.trouble)) == (
            "queued",
            True,
            True,
        )
        services.training.jobs.launched(made.job_id, "sightloop-1")
        told = {**SCHEDULED, "detail": {"TrainingJobName": "sightloop-1"}}
        assert self._call("on_training_event", told) == {"jobs": 1}
        assert len(self._sqs_records(queue)) == 1  # what SageMaker would be asked has its own test
        finished = Finished(job_id=made.job_id, start=1, at=datetime.now(UTC)).model_dump_json()
        self._send(queue, finished)
        assert {job.state for job in self._take_reports()} == {"launched"}
        self._it_is_trained(made)
        self._send(queue, finished)
        [done] = self._take_reports()
        assert (done.state, done.version) == ("promoted", 1), done.outcome
        self._a_training_is_called_off()

    def _a_training_is_called_off(self) -> None:
        services = self._services()
        terms = Terms.of(1, self.stage.settings)
        made = services.training.jobs.create("trained", terms, "sagemaker", "ada", "test")
        token = services.secrets.read().operators["operator"]
        as_operator = {"headers": {"Authorization": f"Bearer {token}"}}
        path = "/v1/training-jobs/{job_id}/cancel"
        assert made
        called_off = self._ask("POST", path, job_id=str(made.job_id), **as_operator)
        assert called_off["statusCode"] == 200
        assert [job.state for job in self._take_reports()] == ["cancelled"]
        self._witness.calls.clear()
        services.training.desk.remind(made.job_id, 0)  # as after a launch
        self.did["on_training_report"] += self._witness.calls
        self._take_reports()

    def _it_is_trained(self, job: Any) -> None:
        """Leave what a trainer leaves."""
        row = {"class_id": 0, "class_name": "dent", "AP50": 0.5, "AP50-95": 0.5, "boxes": 9}
        measured = {"mAP50": 0.5, "mAP50-95": 0.5, "per_class": [row], "validation_set_size": 1}
        told = {**measured, "parity": {"largest_difference": 0.0, "mAP50-95": 0.5}}
        files = {
            "model.onnx": self._onnx,
            "best.pt": b"weights",
            "metrics.json": json.dumps(told).encode(),
        }
        for name, body in files.items():
            place = {"Bucket": self.stage.settings.store_bucket, "Body": body}
            self._admin("s3").put_object(Key=output_key(job.job_id, name), **place)

    def _a_version_is_promoted(self) -> None:
        """The first one of a model that waited for it, by an operator."""
        services = self._services()
        store, names = services.store, services.catalog.get("scratch").names
        services.pending_models.ask("late", names, "ann")
        for file in ("model.onnx", "metrics.json"):
            store.copy(version_key("scratch", 1, file), version_key("late", 1, file))
        path = "/v1/models/{model}/versions/{version}/promote"
        token = services.secrets.read().operators["operator"]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        told = self._ask("POST", path, model="late", version="1", body="{}", headers=headers)
        assert told["statusCode"] == 200, _body(told)

    def _take_reports(self) -> list[Any]:
        """Take what waits on the queue, and return what the jobs have become."""
        jobs = []
        for record in self._sqs_records(self.stage.settings.training_queue):
            self._call("on_training_report", {"Records": [record]})
            job_id = parse_report(record["body"]).job_id
            jobs.append(self._services().training.jobs.get(job_id))
        return jobs

    def _labels(self, act: Callable[[Any, Any, list[int]], object]) -> int:
        """Change labels; return how many images are to be published for it."""
        services = self._services()
        with services.database.transaction() as rows:
            rows.execute("SELECT DISTINCT request_id FROM labels")
            act(rows, services.dataset, [request_id for (request_id,) in rows.fetchall()])
            rows.execute("SELECT count(*) FROM samples WHERE NOT published")
            [(behind,)] = rows.fetchall()
        assert behind
        return int(behind)

    def _images_are_gone(self, source: str) -> None:
        services = self._services()
        for key in [*services.store.keys("models/scratch/images/")]:
            services.store.delete(key)
        with services.database.transaction() as rows:
            rows.execute(
                "UPDATE samples SET source_key = %s, published = false WHERE model = 'scratch'",
                (source,),
            )

    def _a_job_is_lost(self) -> None:
        services = self._services()
        asked = {"format": "yolo", "images": "none"}
        services.transfers.ask_for_export("tags", "ada", asked)
        with services.database.transaction() as rows:
            rows.execute("UPDATE transfers SET updated_at = now() - interval '1 hour'")

    def _ask(self, method: str, resource: str, **given: Any) -> dict[str, Any]:
        path = {k: given.pop(k) for k in PATH_PARAMETERS if k in given}
        event = self._api_event(method, resource, pathParameters=path or None, **given)
        return dict(self._call("api_handler", event))

    def _call(self, function: str, event: dict[str, Any], context: Any = None) -> Any:
        """Call a function in a process that was just started, as far as its services go."""
        wiring.provide(self._services())
        handler = app if function == "api_handler" else app.handler_map[function]
        self._witness.calls.clear()
        answer = handler(event, context or LambdaContext(function, 3008))
        self.did[function] += self._witness.calls
        return answer

    def _services(self) -> Services:
        now = datetime.now(UTC) + self._later
        return Services(self.stage.settings, self._witness.clients, lambda: now)

    def _put(self, key: str) -> None:
        bucket = self.stage.settings.uploads_bucket
        self._admin("s3").put_object(Bucket=bucket, Key=key, Body=self._photo)

    def _s3_event(self, key: str, names_version: bool = True) -> dict[str, Any]:
        """Tell of an object; a listing, by which lost events are made up for, names no version."""
        bucket = self.stage.settings.uploads_bucket
        head = self._admin("s3").head_object(Bucket=bucket, Key=key)
        version = {"versionId": head["VersionId"]} if names_version else {}
        found = {"key": key, "eTag": head["ETag"].strip('"'), "size": 1, **version}
        told = {"bucket": {"name": bucket}, "object": found}
        return {"Records": [{"eventTime": datetime.now(UTC).isoformat(), "s3": told}]}

    def _sqs_records(self, queue: str = "", wait_seconds: int = 0) -> list[dict[str, Any]]:
        sqs, queue = self._admin("sqs"), queue or self.stage.settings.identify_queue
        url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        told = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            AttributeNames=["All"],
            WaitTimeSeconds=wait_seconds,
        )
        return [
            {
                "messageId": each["MessageId"],
                "receiptHandle": each["ReceiptHandle"],
                "body": each["Body"],
                "attributes": each["Attributes"],
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": self.stage.arn("sqs", queue),
                "awsRegion": self.stage.region,
            }
            for each in told.get("Messages", [])
        ]

    def _send(self, queue: str, body: str) -> None:
        sqs = self._admin("sqs")
        sqs.send_message(QueueUrl=sqs.get_queue_url(QueueName=queue)["QueueUrl"], MessageBody=body)


def _body(answer: dict[str, Any]) -> bytes:
    body = str(answer["body"])
    return base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()


@pytest.fixture(scope="module")
def story(
    cloud: Cloud,
    api_event: Events,
    photo: bytes,
    make_model: Callable[..., bytes],
    new_database: Callable[..., str],
    migrated: str,
) -> Iterator[Story]:
    before = wiring.services()
    stage = Stage(name="audit", prefix="audit", region="eu-west-1")
    onnx = make_model(((8, 8, 24, 20, 0.9, 0),), ("dent",))
    told = Story(cloud, stage, api_event, photo, onnx, new_database(template=migrated))
    told.tell()
    yield told
    wiring.provide(before)


def covers(statement: Statement, call: Call) -> bool:
    """Tell whether IAM finds a call allowed by a statement."""
    conditions = statement.get("Condition", {})
    assert set(conditions) <= {"StringLikeIfExists"}, "this test knows no other condition"
    keys = conditions.get("StringLikeIfExists", {}).get("s3:prefix")
    return (
        call.action in statement["Action"]
        and any(fnmatchcase(call.resource, each) for each in statement["Resource"])
        and (not keys or call.prefix is None or _matches(call.prefix, keys))
    )


def _matches(text: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_make_every_call_that_it_makes(story: Story, function: str) -> None:
    statements = policy(story.stage, function)["Statement"]

    refused = [
        call
        for call in story.did[function]
        if not any(covers(statement, call) for statement in statements)
    ]

    assert story.did[function]
    assert refused == []


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_needs_all_that_it_may_do(story: Story, function: str) -> None:
    shared = [call for each in KEEPERS for call in story.did[each]] if function in KEEPERS else []
    needed = [*story.did[function], *shared, *_what_lambda_does(story.stage, function)]

    idle = [
        (action, resource, key)
        for statement in policy(story.stage, function)["Statement"]
        for action, resource, key in _single_permissions(statement)
        if not any(_uses(call, action, resource, key) for call in needed)
    ]

    assert idle == []


def _what_lambda_does(stage: Stage, function: str) -> Iterator[Call]:
    """Yield the calls that Lambda makes in a function's name."""
    group = stage.arn("logs", f"log-group:{stage.log_group(function)}")
    for action in ("CreateLogStream", "PutLogEvents"):
        yield Call(f"logs:{action}", f"{group}:log-stream:2026/11/21/[$LATEST]0123")
    if function in WORKERS:
        queue = stage.arn("sqs", queue_of(stage, function))
        for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes"):
            yield Call(f"sqs:{action}", queue)


def _single_permissions(statement: Statement) -> Iterator[tuple[str, str, str]]:
    condition = statement.get("Condition", {}).get("StringLikeIfExists", {})
    for action in statement["Action"]:
        for resource in statement["Resource"]:
            for key in condition.get("s3:prefix", [""]):
                yield action, resource, key


def _uses(call: Call, action: str, resource: str, key: str) -> bool:
    within = not key or fnmatchcase(call.prefix or call.about, key)
    return call.action == action and fnmatchcase(call.resource, resource) and within


@pytest.mark.parametrize("stage", DEFAULTS, ids=lambda stage: stage.name)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_nothing_is_allowed_on_everything(stage: Stage, function: str) -> None:
    """A star stands for keys below a folder of ours, or for the log streams that Lambda names."""
    for statement in policy(stage, function)["Statement"]:
        assert statement["Effect"] == "Allow"
        assert not [action for action in statement["Action"] if "*" in action]
        for resource in statement["Resource"]:
            name, star, rest = resource.partition("*")
            assert f"{stage.prefix}-{stage.name}" in name
            assert rest in (
                "",
                "/model.yaml",
                "/images/*",
                "/labels/*",
                "/order.json",
                "/versions/*",
            )
            assert not star or name.endswith((":", *(f"/{each}/" for each in FOLDERS)))


def test_a_function_may_not_read_what_another_stage_has() -> None:
    dev, prod = DEFAULTS
    theirs = {r for each in policy(prod, "identify")["Statement"] for r in each["Resource"]}

    for statement in policy(dev, "identify")["Statement"]:
        for resource in theirs:
            assert not covers(statement, Call(statement["Action"][0], resource.replace("*", "x")))
