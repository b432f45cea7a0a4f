"""Whoever is banned by token cannot drop the token and go on from the same address."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from app import app
from chalicelib import wiring
from chalicelib.settings import Settings
from chalicelib.trust.address_blocks import MOST_TOKENS, AddressBlocks
from chalicelib.trust.report_list import KEY, ReportList
from tests.api.conftest import Gateway, member_headers
from tests.api.test_bans import DETECTIONS, READING, WRITING, concrete

Stack = Any
MakePicture = Callable[..., bytes]
OFFICE, ELSEWHERE = "203.0.113.7", "203.0.113.8"
SINCE = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
JSON = {"content_type": "application/json"}
WANTED = json.dumps(
    {"model": "scratch", "file_name": "a.jpg", "content_type": "image/jpeg"}
).encode()


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 30, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Counting:
    """A client of DynamoDB that counts calls, and fails while it is down."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.calls: Counter[str] = Counter()
        self.is_down = False

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name not in {"get_item", "put_item", "update_item"}:
            return call

        def counted(**request: Any) -> Any:
            self.calls[name] += 1
            if self.is_down:
                raise EndpointConnectionError(endpoint_url="https://dynamodb")
            return call(**request)

        return counted


class From(Gateway):
    """API Gateway as the callers of one address meet it."""

    def __init__(self, source: str = OFFICE) -> None:
        super().__init__(app)
        self._source = source

    def event(self, *request: Any) -> dict[str, Any] | None:
        event = super().event(*request)
        if event is not None:
            event["requestContext"]["identity"]["sourceIp"] = self._source
        return event

    def form(self, **headers: str) -> int:
        """Ask for an upload form; return the status."""
        return self("POST", "/v1/uploads", WANTED, **JSON, **headers).status


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def dynamodb(stack: Stack) -> Counting:
    return Counting(stack.services.client("dynamodb"))


@pytest.fixture
def process(stack: Stack, clock: Clock, dynamodb: Counting) -> Iterator[Callable[..., None]]:
    """Let the app be another process, which knows nothing yet; by the test's clock."""
    services = stack.services
    before = services.report_list

    def begin(check_seconds: float = 0, **settings: Any) -> None:
        services.report_list = ReportList(services.store, 0)
        chosen = Settings(**settings)
        services.address_blocks = AddressBlocks(
            dynamodb, chosen, clock, services.report_list.banned_since, check_seconds
        )

    begin()
    yield begin
    table = services.settings.limits_table
    for item in services.client("dynamodb").scan(TableName=table)["Items"]:
        services.client("dynamodb").delete_item(TableName=table, Key={"entry": item["entry"]})
    services.store.delete(KEY)
    services.report_list = before
    del services.address_blocks


@pytest.fixture
def ban(stack: Stack, process: object) -> Callable[..., None]:
    def write(*users: str) -> None:
        text = "".join(f"{user}\t{SINCE.isoformat()}\n" for user in users)
        stack.services.store.put(KEY, text.encode(), "text/plain")

    return write


@pytest.fixture
def vandal(stack: Stack, ban: Callable[..., None]) -> dict[str, str]:
    """A banned token, as a header."""
    ban("user:vandal")
    return member_headers(stack, "vandal")


@pytest.mark.parametrize("operation", WRITING, ids=lambda each: f"{each.method} {each.path}")
def test_no_route_lets_anonymous_callers_write_where_a_banned_token_was_used(
    vandal: dict[str, str], operation: Any
) -> None:
    office = From()
    assert office.form(**vandal) == 403

    answer = office(operation.method, concrete(operation.path), b"{}")

    assert answer.status == 403
    assert answer.type == "application/problem+json"
    assert answer.json["type"] == "urn:sightloop:problem:address-blocked"


@pytest.mark.parametrize("operation", WRITING, ids=lambda each: f"{each.method} {each.path}")
def test_a_banned_token_blocks_the_address_whatever_it_tries_to_write(
    vandal: dict[str, str], operation: Any
) -> None:
    office = From()
    assert office(operation.method, concrete(operation.path), b"{}", **vandal).status == 403

    assert office.form() == 403


def test_the_problem_says_why_and_until_when_and_what_to_do(
    stack: Stack, vandal: dict[str, str], clock: Clock
) -> None:
    office = From()
    office.form(**vandal)

    problem = office("POST", "/v1/uploads", WANTED, **JSON).json

    assert f"a banned token was used from {OFFICE}" in problem["detail"]
    assert "With a token of your own you can go on" in problem["detail"]
    assert datetime.fromisoformat(problem["until"]) == clock.now + timedelta(hours=24)
    assert problem["appeal"] == stack.services.settings.appeal_to
    assert problem["retry"] is False
    assert "vandal" not in json.dumps(problem)  # whose token it was is nobody else's business


def test_callers_with_a_token_of_their_own_go_on_from_the_same_address(
    stack: Stack, vandal: dict[str, str], as_operator: dict[str, str]
) -> None:
    office = From()
    office.form(**vandal)

    assert office.form(**member_headers(stack, "ann")) == 201
    assert office.form(**as_operator) == 201
    assert From(ELSEWHERE).form() == 201


@pytest.mark.parametrize("path", READING)
def test_what_only_reads_stays_open(vandal: dict[str, str], path: str) -> None:
    office = From()
    office.form(**vandal)

    assert office("GET", path).status == 200


def test_photos_can_still_be_deleted_from_there(vandal: dict[str, str]) -> None:
    office = From()
    office.form(**vandal)

    answer = office("DELETE", "/v1/predictions/3f0c2a6e-5d1b-4a57-9a55-0f3f6f0d7c11")

    assert answer.status == 404  # no such prediction: the caller was let in


def test_of_ipv6_the_whole_network_of_a_subscriber_is_blocked(vandal: dict[str, str]) -> None:
    From("2001:db8:1:2::1").form(**vandal)

    assert From("2001:db8:1:2:ffff::9").form() == 403
    assert From("2001:db8:1:3::1").form() == 201


def test_a_block_ends_after_a_day(vandal: dict[str, str], clock: Clock) -> None:
    office = From()
    office.form(**vandal)

    clock.now += timedelta(hours=24, seconds=-1)
    assert office.form() == 403
    clock.now += timedelta(seconds=2)
    assert office.form() == 201


def test_a_block_ends_with_the_ban(vandal: dict[str, str], ban: Callable[..., None]) -> None:
    office = From()
    office.form(**vandal)
    ban()

    assert office.form() == 201


def test_a_block_stands_while_one_of_the_tokens_used_there_is_banned(
    stack: Stack, ban: Callable[..., None], process: Callable[..., None]
) -> None:
    for first, second in (("eve", "mallory"), ("mallory", "eve")):
        ban("user:eve", "user:mallory")
        office = From()
        for subject in (first, second):
            assert office.form(**member_headers(stack, subject)) == 403
            process()  # each token meets another process

        ban(f"user:{first}")
        assert office.form() == 403
        ban(f"user:{second}")
        assert office.form() == 403
        ban()
        assert office.form() == 201


def test_a_block_says_until_when_by_the_uses_whose_ban_stands(
    stack: Stack, ban: Callable[..., None], clock: Clock
) -> None:
    ban("user:eve", "user:mallory")
    office, began = From(), clock.now
    office.form(**member_headers(stack, "eve"))
    clock.now += timedelta(hours=10)
    office.form(**member_headers(stack, "mallory"))

    def until() -> datetime:
        problem = office("POST", "/v1/uploads", WANTED, **JSON).json
        return datetime.fromisoformat(problem["until"])

    assert until() == began + timedelta(hours=34)
    ban("user:eve")
    assert until() == began + timedelta(hours=24)
    clock.now = began + timedelta(hours=24, seconds=1)
    assert office.form() == 201
    ban("user:mallory")
    assert office.form() == 403


def test_uses_that_processes_record_at_once_are_all_kept(
    stack: Stack, ban: Callable[..., None], clock: Clock
) -> None:
    client, bans = stack.services.client("dynamodb"), stack.services.report_list.banned_since
    names = [f"user:{number}" for number in range(8)]
    ban(*names)
    processes = [AddressBlocks(client, Settings(), clock, bans, 0) for _ in names]
    together = Barrier(len(names))

    def use(process: AddressBlocks, name: str) -> None:
        together.wait()
        process.record(OFFICE, name)

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(use, processes, names))

    for name in names:
        ban(name)
        assert processes[0].block_of(OFFICE) is not None, name


def test_of_many_banned_tokens_those_used_last_are_kept(
    stack: Stack, ban: Callable[..., None], clock: Clock, process: Callable[..., None]
) -> None:
    names = [f"user:{number}" for number in range(MOST_TOKENS + 5)]
    ban(*names)
    for name in names:
        stack.services.address_blocks.record(OFFICE, name)
        clock.now += timedelta(seconds=1)
    process()

    table, client = stack.services.settings.limits_table, stack.services.client("dynamodb")
    item = client.get_item(TableName=table, Key={"entry": {"S": f"blocked/{OFFICE}"}})["Item"]
    kept = {f"used/{name}" for name in names[-MOST_TOKENS:]}
    assert {name for name in item if name.startswith("used/")} == kept
    ban(*names[:5])
    assert From().form() == 201
    ban(names[5])
    assert From().form() == 403


def test_uses_that_are_over_leave_the_item(
    stack: Stack, ban: Callable[..., None], clock: Clock
) -> None:
    ban("user:eve", "user:mallory")
    stack.services.address_blocks.record(OFFICE, "user:eve")
    clock.now += timedelta(hours=25)
    stack.services.address_blocks.record(OFFICE, "user:mallory")

    table, client = stack.services.settings.limits_table, stack.services.client("dynamodb")
    item = client.get_item(TableName=table, Key={"entry": {"S": f"blocked/{OFFICE}"}})["Item"]
    assert set(item) == {"entry", "expires_at", "used/user:mallory"}


def test_another_process_knows_of_it(vandal: dict[str, str], process: Callable[..., None]) -> None:
    office = From()
    office.form(**vandal)
    process()

    assert office.form() == 403


def test_the_setting_switches_it_off(
    vandal: dict[str, str], process: Callable[..., None], dynamodb: Counting
) -> None:
    process(address_block_hours=0)
    office = From()
    assert office.form(**vandal) == 403

    assert office.form() == 201
    assert not dynamodb.calls


def test_a_trusted_address_is_not_blocked(
    vandal: dict[str, str], process: Callable[..., None]
) -> None:
    process(trusted_callers=f"user:ann,{OFFICE}")
    office = From()
    assert office.form(**vandal) == 403

    assert office.form() == 201


@pytest.mark.parametrize("headers", [{"x_forwarded_for": ELSEWHERE}, {"forwarded": ELSEWHERE}])
def test_nobody_blocks_an_address_that_is_not_theirs(
    vandal: dict[str, str], headers: dict[str, str]
) -> None:
    From().form(**vandal, **headers)

    assert From(ELSEWHERE).form() == 201


@pytest.mark.parametrize("token", ["x" * 32, "a.b.c"])
def test_a_token_that_is_not_good_blocks_no_address(vandal: dict[str, str], token: str) -> None:
    office = From()
    assert office.form(authorization=f"Bearer {token}") == 401

    assert office.form() == 201


def test_a_banned_address_blocks_nobody_else(ban: Callable[..., None], stack: Stack) -> None:
    ban(OFFICE)
    office = From()
    assert office.form() == 403
    ban()

    assert office.form() == 201


def test_a_hundred_refusals_write_once_an_hour(
    vandal: dict[str, str], dynamodb: Counting, clock: Clock
) -> None:
    office = From()
    for _ in range(100):
        assert office.form(**vandal) == 403
    assert dynamodb.calls == {"update_item": 1}

    clock.now += timedelta(hours=1)
    office.form(**vandal)
    assert dynamodb.calls == {"update_item": 2}
    clock.now += timedelta(hours=23, minutes=30)
    assert office.form() == 403  # the day begins with the last write


def test_processes_do_not_change_the_item_twice_within_an_hour(
    stack: Stack,
    vandal: dict[str, str],
    process: Callable[..., None],
    clock: Clock,
) -> None:
    office, until = From(), clock.now + timedelta(hours=24)
    for _ in range(3):
        process()
        office.form(**vandal)
        clock.now += timedelta(minutes=10)

    table, client = stack.services.settings.limits_table, stack.services.client("dynamodb")
    item = client.get_item(TableName=table, Key={"entry": {"S": f"blocked/{OFFICE}"}})["Item"]
    assert int(item["expires_at"]["N"]) == until.timestamp()


def test_anonymous_writes_read_once_within_the_cache_time(
    ban: Callable[..., None],
    process: Callable[..., None],
    dynamodb: Counting,
    make_picture: MakePicture,
) -> None:
    process(check_seconds=60)
    office, picture = From(), make_picture()
    for _ in range(5):
        answer = office("POST", DETECTIONS, picture, content_type="image/jpeg")
        assert answer.status == 200

    assert dynamodb.calls == {"get_item": 1}


def test_a_caller_with_a_token_costs_no_read(
    stack: Stack, ban: Callable[..., None], dynamodb: Counting
) -> None:
    assert From().form(**member_headers(stack, "ann")) == 201

    assert not dynamodb.calls


def test_while_the_table_is_away_what_is_known_counts_and_others_go_on(
    vandal: dict[str, str],
    dynamodb: Counting,
    make_picture: MakePicture,
) -> None:
    office, picture = From(), make_picture()
    sent = {"body": picture, "content_type": "image/jpeg"}
    office.form(**vandal)
    dynamodb.is_down = True

    assert office("POST", DETECTIONS, **sent).status == 403
    assert From(ELSEWHERE)("POST", DETECTIONS, **sent).status == 200
    assert From(ELSEWHERE)("POST", DETECTIONS, **sent, **vandal).status == 403


def test_a_ban_that_only_the_database_knows_yet_blocks_as_well(
    stack: Stack, ban: Callable[..., None], make_picture: MakePicture
) -> None:
    """The list is some seconds old: whoever is banned learns of it from a submission first."""
    office, eve = From(), member_headers(stack, "eve")
    kept = office(
        "POST", f"{DETECTIONS}?keep=true", make_picture(), content_type="image/jpeg", **eve
    ).json
    stack.services.ledger.ban("user:eve", "tests", "operator")
    body = json.dumps({"answer": "empty", "prediction_id": kept["prediction_id"]}).encode()
    answer = office("POST", "/v1/models/scratch/submissions", body, **JSON, **eve)
    assert answer.json["type"] == "urn:sightloop:problem:banned", answer.json

    ban("user:eve")  # now the list has it
    assert office.form() == 403


def test_memory_is_bounded(stack: Stack, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.trust.address_blocks.MOST_CACHED", 10)
    client = stack.services.client("dynamodb")
    blocks = AddressBlocks(client, Settings(), clock, lambda _: SINCE)
    for number in range(30):
        blocks.record(f"192.0.2.{number}", "user:vandal")
        assert blocks.block_of(f"198.51.100.{number}") is None

    assert len(blocks._cached) == len(blocks._written_at) == 10
    assert blocks.block_of("192.0.2.0") is not None  # read anew


def test_the_services_of_a_process_have_it(stack: Stack) -> None:
    blocks = wiring.Services(Settings(), {"dynamodb": stack.services.client("dynamodb")})

    assert blocks.address_blocks.block_of("192.0.2.77") is None
