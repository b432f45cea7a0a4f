"""The load test, small: real processes, HTTP and queues, and a worker that is killed at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.bot_crowd import Crowd, Plan, Town, judge
from benchmarks.bot_stage import Model, Stage
from local.telegram.server import Server

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

TOKEN = "7000000001:load"
PATIENCE = 120
HIDDEN = 15  # longer than the bot takes somebody for alive who sends “Processing…”, with retries


@pytest.fixture
def town() -> Iterator[Town]:
    made = Town()
    made.server = Server(made, TOKEN)
    yield made
    made.server.stop()


@pytest.fixture
def stage(town: Town, home_folder: Path, make_model: Callable[..., bytes]) -> Iterator[Stage]:
    model = Model(make_model(), b"{}")
    made = Stage(home_folder, town.server.url, TOKEN, model, workers=1, hidden_seconds=HIDDEN)
    yield made
    made.stop()


@pytest.mark.timeout(60)
def test_where_nobody_takes_what_is_delivered_it_ends(town: Town) -> None:
    town.webhook = {"url": "http://127.0.0.1:9/", "secret_token": "x"}
    crowd = Crowd(town, Plan(2, 4), [Image.new("RGB", (96, 64))])
    with ThreadPoolExecutor(1) as pool:
        delivery = pool.submit(crowd.deliver)
        assert not crowd.wait_until_answered(patience=0.2)
        delivery.result()

    assert {status for _, status in crowd.posts} <= {0}
    assert len(judge(town, crowd.sent).missing) == 4


def test_forty_photos_have_forty_answers_though_the_worker_is_killed(
    stage: Stage, town: Town
) -> None:
    plan = Plan(5, 40, duplicates=20, reordered=20, captions=("predict", "blur 4", "rotate"))
    drawing = Image.linear_gradient("L").resize((96, 64)).convert("RGB")
    crowd = Crowd(town, plan, [drawing])
    with ThreadPoolExecutor(1) as pool:
        delivery = pool.submit(crowd.deliver)
        assert stage.kill_a_worker(lambda: crowd.answered() >= 10, PATIENCE)
        assert crowd.wait_until_answered(PATIENCE), judge(town, crowd.sent)
        delivery.result()
    assert stage.wait_until_empty(PATIENCE)

    verdict = judge(town, crowd.sent)
    assert verdict.holds, verdict
    assert len(crowd.sent) == 40
    assert len(verdict.left_standing) <= 1  # it was killed once, and nobody knows what was sent
    assert stage.dead_letters() == 0
