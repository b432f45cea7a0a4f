"""The API under what its own document allows and forbids, and pictures mutated at random."""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance, unsupported_method

from chalicelib.retrain.job import Terms
from chalicelib.trust.ledger import Request
from chalicelib.web.once import KEY_HEADER, VISIBLE
from chalicelib.web.routes import documented

Gateway = Any
MakePicture = Callable[..., bytes]

DETECTIONS = "/v1/models/scratch/detections"
TELEGRAMS_WORD = "known-to-telegram-alone"
AS_TELEGRAM = {"X-Telegram-Bot-Api-Secret-Token": TELEGRAMS_WORD}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of damaged EXIF

ADD_IMAGE = """
INSERT INTO samples (model, sha256, extension, width, height, side, bits, source_key)
VALUES ('scratch', %s, 'jpg', 64, 64, 'train', decode(repeat('00', 32), 'hex'), 'gone')
"""
KINDS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "BMP": "image/bmp"}
BOUNDED = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def known(
    gateway: Gateway,
    as_operator: dict[str, str],
    stack: Any,
    make_picture: MakePicture,
    make_model: Callable[..., bytes],
) -> dict[str, str]:
    """Names of what exists."""
    stack.publish(make_model(((8, 8, 24, 20, 0.9, 0), (30, 30, 60, 50, 0.7, 1))))
    ban = json.dumps({"user": "user:eve", "why": "spam"}).encode()
    told = {"content_type": "application/json", **as_operator}
    assert gateway("POST", "/v1/bans", ban, **told).status == 201
    wanted = {"model": "scratch", "file_name": "tag.jpg", "content_type": "image/jpeg"}
    body = json.dumps(wanted).encode()
    offered = gateway("POST", "/v1/uploads", body, content_type="application/json").json
    new = json.dumps({"name": "pending", "classes": ["dent"]}).encode()
    assert gateway("POST", "/v1/pending-models", new, content_type="application/json").status == 201
    brought = gateway(
        "POST", "/v1/pending-models/pending/images", make_picture(), content_type="image/jpeg"
    )
    asked = json.dumps({"format": "yolo"}).encode()
    zips = {
        "import_id": gateway("POST", "/v1/pending-models/pending/imports", b"{}", **told),
        "export_id": gateway("POST", "/v1/models/pending/exports", asked, **told),
    }
    cut = stack.services.transfers.ask_for_cut("pending", "operator:operator")
    image, version = "0" * 64, gateway("POST", "/v1/models/scratch/datasets", **as_operator)
    with stack.services.database.transaction() as rows:
        rows.execute(ADD_IMAGE, (image,))
    _register_bot(stack)
    return {
        "model": "scratch",
        "prediction_id": offered["prediction_id"],
        "pending": "pending",
        "brought": brought.json["prediction_id"],
        "kept": _kept(gateway, make_picture()),
        **{name: answer.json[name] for name, answer in zips.items()},
        "user": "user:eve",
        "sha256": image,
        "version": version.json["sha256"],
        "job_id": _training(stack),
        "cut_id": cut.transfer_id,
        **_waiting(stack, make_picture()),
    }


def _register_bot(stack: Any) -> None:
    """Have the service take updates from who knows a word."""
    manager, name = stack.services.client("secretsmanager"), stack.services.settings.secret_name
    known = json.loads(manager.get_secret_value(SecretId=name)["SecretString"])
    bot = {"token": "7000000001:nobody", "webhook_secret": TELEGRAMS_WORD}
    manager.put_secret_value(SecretId=name, SecretString=json.dumps(known | {"telegram": bot}))
    stack.services.__dict__.pop("secrets")  # forget what was read before


def _kept(gateway: Gateway, picture: bytes) -> str:
    """Have a detection that can be corrected."""
    told = gateway("POST", f"{DETECTIONS}?keep=true", picture, content_type="image/jpeg")
    return str(told.json["prediction_id"])


def _training(stack: Any) -> str:
    """Have a training job of one model, and something to train another on."""
    terms = Terms.of(None, stack.services.settings)
    with stack.services.database.transaction() as rows:
        rows.execute(SETTLED, ("ef" * 32, "valid", bytes(32)))
        [(label, sample)] = rows.fetchall()
        rows.execute("UPDATE samples SET label_id = %s WHERE sample_id = %s", (label, sample))
    made = stack.services.training.jobs.create("pending", terms, "process", "planner", "so be it")
    return str(made.job_id)


def _waiting(stack: Any, picture: bytes) -> dict[str, str]:
    """Have a submission wait for review, and an image whose boxes are settled."""
    key = "models/scratch/images/train/a.jpg"
    stack.services.store.put(key, picture, "image/jpeg")
    image = {"width": 64, "height": 64, "sha256": SETTLED_IMAGE, "key": key}
    detail = {"image": image, "predicted": [], "submitted": []}
    request = Request("user:eve", str(uuid.uuid4()), "scratch", 1, 0.9, 2, 0, "quarantined", detail)
    number = stack.services.ledger.record(request).request_id
    [recorded] = stack.services.ledger.of_user("user:eve")
    with stack.services.database.transaction() as rows:
        rows.execute(SETTLED, (SETTLED_IMAGE, "train", bytes(32)))
        [(label, sample)] = rows.fetchall()
        rows.execute("UPDATE samples SET label_id = %s WHERE sample_id = %s", (label, sample))
    seen = recorded.updated_at.isoformat()
    return {"submission_id": str(number), "seen": seen}


SETTLED_IMAGE = "ab" * 32
SETTLED = """
WITH sample AS (
    INSERT INTO samples (model, sha256, extension, width, height, side, bits, source_key)
    VALUES ('scratch', %s, 'jpg', 64, 64, %s, %s, 'models/scratch/images/train/a.jpg')
    RETURNING sample_id),
label AS (
    INSERT INTO labels (sample_id, yolo, boxes, origin)
    SELECT sample_id, '', 0, 'import' FROM sample RETURNING label_id)
SELECT label_id, sample_id FROM label, sample
"""
KNOWN_IN_BODY = {
    ("/v1/uploads", "POST"): "model",
    ("/v1/bans", "POST"): "user",
    ("/v1/models/{model}/dataset/releases", "POST"): "images",
}
FOR_MEMBERS = {("/v1/contributions", "DELETE"), ("/v1/models/{model}/tasks", "POST")}
SAID_IN_PART = {  # no schema tells what is a picture, is there once, or was given out before
    "/v1/models/{model}/detections",
    "/v1/pending-models",
    "/v1/bans",
    "/v1/models/{model}/submissions",
    "/v1/pending-models/{model}/submissions",
    "/v1/pending-models/{model}/images",
    "/v1/review",
    "/v1/review/{submission_id}",
    "/v1/contributors",
    "/v1/training-jobs",
    "/v1/models/{model}/training-jobs",
    "/v1/models/{model}/comparison",
    "/v1/models/{model}/rollback",
    "/v1/models/{model}/versions/{version}/promote",
}
OPERATIONS = [each for each in documented if each.documented]
FOR_OPERATORS = {(each.path, each.method) for each in OPERATIONS if each.operators_only}
SENT = [
    (each.path, each.method, mode)
    for each in OPERATIONS
    for mode in schemathesis.GenerationMode
    if mode is schemathesis.GenerationMode.POSITIVE or each.query or each.body or "{" in each.path
]


@pytest.fixture(scope="module")
def described(gateway: Gateway, make_picture: MakePicture) -> Any:
    pictures = [make_picture((40, 30), kind) for kind in KINDS]
    bodies = st.sampled_from(pictures) | st.binary(max_size=200)
    for kind in (*KINDS.values(), "application/octet-stream"):
        schemathesis.openapi.media_type(kind, bodies)
    api = schemathesis.openapi.from_wsgi("/openapi.json", gateway.wsgi)
    api.config.checks.negative_data_rejection.expected_statuses.append("413")  # too many images
    return api


def _take_a_new_key(case: schemathesis.Case) -> None:
    """Replace a valid Idempotency-Key: no schema says how long whose is, or which was used."""
    if re.fullmatch(VISIBLE, case.headers.get(KEY_HEADER) or ""):
        case.headers[KEY_HEADER] = str(uuid.uuid4())


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("path", "method", "mode"), SENT)
def test_answers_are_as_the_document_says(
    described: Any,
    known: dict[str, str],
    as_operator: dict[str, str],
    path: str,
    method: str,
    mode: schemathesis.GenerationMode,
) -> None:
    """No 5xx, no undocumented status, type, header or shape, whatever is sent."""

    statuses: set[int] = set()
    is_positive = mode is schemathesis.GenerationMode.POSITIVE
    says_too_little = path in SAID_IN_PART
    excluded = [unsupported_method, *([positive_data_acceptance] if says_too_little else [])]

    @BOUNDED
    @given(described[path][method].as_strategy(generation_mode=mode), st.booleans())
    def check(case: schemathesis.Case, of_what_exists: bool) -> None:
        if (path, method) in FOR_OPERATORS | (FOR_MEMBERS if is_positive else set()):
            case.headers["Authorization"] = as_operator["authorization"]
        case.headers.update(AS_TELEGRAM)
        _take_a_new_key(case)
        is_known = of_what_exists and (is_positive or (path, method) not in FOR_OPERATORS)
        if is_known:
            case.path_parameters |= {key: known[key] for key in case.path_parameters}
            if "/datasets/" in path:
                case.path_parameters["sha256"] = known["version"]
            if path.startswith("/v1/pending-models/"):
                case.path_parameters["model"] = known["pending"]
            if path.startswith("/v1/review/") and is_positive:
                case.body |= {"seen": known["seen"], "why": "because"}
            if path.endswith("/submissions") and is_positive:
                kept = "brought" if path.startswith("/v1/pending-models/") else "kept"
                case.body |= {"prediction_id": known[kept]}
            if is_positive:
                _name_versions(path, case)
            if is_positive and (path, method.upper()) in KNOWN_IN_BODY:
                field = KNOWN_IN_BODY[path, method.upper()]
                case.body[field] = [SETTLED_IMAGE] if field == "images" else known[field]
        statuses.add(case.call_and_validate(excluded_checks=excluded).status_code)

    check()
    assert not is_positive or statuses & {200, 201}, statuses


def _name_versions(path: str, case: schemathesis.Case) -> None:
    """Have a request be about the one version that there is."""
    if path.endswith("/promote"):
        case.path_parameters["version"] = "1"
    if path.endswith("/comparison"):
        case.query |= {"a": 1, "b": 1}


@pytest.mark.timeout(120)
@settings(BOUNDED, max_examples=100)
@given(st.data())
def test_a_damaged_update_is_taken_or_refused(
    gateway: Gateway, known: dict[str, str], data: st.DataObject
) -> None:
    said = {"message_id": 1, "text": "caf\u00e9 \ud83d", "chat": {"id": 42, "type": "private"}}
    whole = json.dumps({"update_id": 1, "message": said}).encode()
    told = {"x_telegram_bot_api_secret_token": TELEGRAMS_WORD, "content_type": "application/json"}

    answer = gateway(
        "POST", "/v1/telegram/webhook", data.draw(mutations(len(whole)))(whole), **told
    )

    assert answer.status in (200, 400), answer.body


@st.composite
def mutations(draw: st.DrawFn, size: int) -> Callable[[bytes], bytes]:
    """Draw a way to damage a file of so many bytes."""
    changes = draw(st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, 255)), max_size=8))
    cut = draw(st.none() | st.integers(0, size))
    inserted = draw(st.tuples(st.integers(0, size), st.binary(max_size=20)))

    def mutate(file: bytes) -> bytes:
        damaged = bytearray(file)
        for place, value in changes:
            damaged[place] = value
        damaged[inserted[0] : inserted[0]] = inserted[1]
        return bytes(damaged[:cut])

    return mutate


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("accept", ["application/json", "image/jpeg"])
def test_a_damaged_picture_is_looked_at_or_refused(
    gateway: Gateway, make_picture: MakePicture, kind: str, accept: str
) -> None:
    whole = make_picture((50, 40), kind, 6)

    @settings(BOUNDED, max_examples=150)
    @given(mutations(min(len(whole), 700)))
    def check(mutate: Callable[[bytes], bytes]) -> None:
        answer = gateway("POST", DETECTIONS, mutate(whole), content_type=KINDS[kind], accept=accept)

        assert answer.status in (200, 422), answer.body
        assert answer.type == (accept if answer.status == 200 else "application/problem+json")

    check()


@pytest.mark.timeout(120)
@settings(BOUNDED, max_examples=100)
@given(st.data())
def test_a_damaged_request_is_answered_or_refused(
    gateway: Gateway, make_picture: MakePicture, data: st.DataObject
) -> None:
    image = make_picture((20, 20))
    form = (
        b'--cut\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
        + image
        + b"\r\n--cut--\r\n"
    )
    told = json.dumps(
        {"images": [{"name": "a", "data": base64.b64encode(image).decode()}]}
    ).encode()
    content_type, whole = data.draw(
        st.sampled_from([("multipart/form-data; boundary=cut", form), ("application/json", told)])
    )
    mutate = data.draw(mutations(len(whole)))

    answer = gateway("POST", DETECTIONS, mutate(whole), content_type=content_type)

    assert answer.status in (200, 400, 422), answer.body


@settings(BOUNDED, max_examples=100)
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE"]),
    path=st.sampled_from(["/v1/models/", "/v1/predictions/", "/static/", "/samples/"]),
    name=st.text(st.characters(codec="utf-8", exclude_characters="/?#%"), min_size=1, max_size=40),
    headers=st.dictionaries(
        st.sampled_from(["accept", "content_type", "x_correlation_id", "if_none_match"]),
        st.text(st.characters(codec="latin-1"), max_size=60),
    ),
)
def test_any_name_and_header_is_answered(
    gateway: Gateway, method: str, path: str, name: str, headers: dict[str, str]
) -> None:
    answer = gateway(method, path + name, **headers)

    assert answer.status < 500, answer.body
