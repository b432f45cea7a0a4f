"""The real app behind a stand-in of AWS, and a real browser in front of it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import requests
from PIL import Image
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    Request,
    Route,
)

ROOT = Path(__file__).parents[2]
SERVED = Path(__file__).with_name("served.py")
SITE_LINE = '{"url"'
SAMPLES = ROOT / "chalicelib/web/static/samples"
PATIENCE_MS = 20_000


@dataclass(frozen=True)
class Site:
    """Where the page is served, the hosts that it may ask, and what is behind it."""

    url: str
    hosts: list[str]
    bucket: str
    aws: str
    database: str
    operator: str


@pytest.fixture(scope="session")
def site(
    tmp_path_factory: pytest.TempPathFactory, new_database: Callable[..., str], migrated: str
) -> Iterator[Site]:
    """Serve the real `app.py`, with a database, the bundled model registered and triggers fed."""
    log = tmp_path_factory.mktemp("site") / "served.log"
    with log.open("w") as written:
        process = subprocess.Popen(
            [sys.executable, SERVED, new_database(template=migrated)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=written,
            cwd=ROOT,
            text=True,
        )
    with process:
        assert process.stdin and process.stdout
        told = next((line for line in process.stdout if line.startswith(SITE_LINE)), None)
        assert told, log.read_text()
        drained = threading.Thread(target=process.stdout.read)  # logs and metrics
        drained.start()
        yield Site(**json.loads(told))
        process.stdin.close()
        drained.join()


@dataclass
class Visit:
    """One open page, and everything it asked for or complained of."""

    page: Page
    asked: list[Request] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.page, name)

    def add(self, *files: Path) -> None:
        """Choose files."""
        self.page.locator("#files").set_input_files(files)

    def take_sample(self, number: int = 1) -> None:
        """Take a sample and wait until it was looked at."""
        self.page.locator("#samples a").nth(number - 1).click()
        self.page.locator("#total").wait_for()

    def set_confidence(self, percent: int) -> None:
        """Move the slider."""
        self.page.locator("#confidence").fill(str(percent))

    def answer_with(self, detections: list[dict[str, Any]]) -> None:
        """Have the API find this from now on."""
        timing = {"decode": 1, "preprocess": 1, "inference": 9, "postprocess": 1}
        size = {"width": 450, "height": 300}
        told = {"model": "scratch", "version": 1, "image": size, "timing_ms": timing}
        answer = {**told, "detections": detections}
        self.page.route("**/detections?*", lambda route: route.fulfill(json=answer))

    def hold(self, address: str) -> list[Route]:
        """Hold requests back from now on; return them as they come, to be continued or not."""
        held: list[Route] = []
        self.page.route(address, lambda route: _keep(held, route))
        return held

    def until_held(self, held: list[Route], count: int) -> None:
        """Wait until so many requests are held back: a photo is marked before it is sent."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while len(held) < count and time.monotonic() < deadline:
            self.page.wait_for_timeout(20)
        assert len(held) == count

    def boxes(self) -> Locator:
        """Return the boxes that are shown."""
        return self.page.locator(".box:visible")

    def tabs(self) -> list[str]:
        """Return what the contact sheet says of each photo."""
        return [str(tab.get_attribute("aria-label")) for tab in self.page.locator(".tab").all()]

    def forgive(self, text: str, times: int = 1) -> None:
        """Take back complaints that a test provokes: browsers log every failed request.

        The log may come after what the page shows of the failure: it is waited for.
        """
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while self._told(text) < times and time.monotonic() < deadline:
            self.page.wait_for_timeout(20)
        assert self._told(text) >= times, self.complaints
        self.complaints = [told for told in self.complaints if text not in told]

    def _told(self, text: str) -> int:
        return sum(text in told for told in self.complaints)

    def posts(self, containing: str = "/detections") -> list[Request]:
        """Return the POST requests whose address contains a text."""
        return [r for r in self.asked if r.method == "POST" and containing in r.url]


class Visitor:
    """Opens the page in a fresh profile, watches it, and closes it."""

    def __init__(self, browser: Browser, site: Site) -> None:
        self._browser = browser
        self.site = site
        self.visits: list[Visit] = []
        self._contexts: list[BrowserContext] = []

    def __call__(
        self,
        address: str = "",
        width: int = 1440,
        height: int = 900,
        models: dict[str, list[str]] | None = None,
        below: str = "",
        **options: Any,
    ) -> Visit:
        options = {"reduced_motion": "reduce", **options}
        context = self._browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(PATIENCE_MS)
        self._contexts.append(context)
        visit = Visit(context.new_page())
        self.visits.append(visit)
        visit.page.on("request", lambda request: _keep(visit.asked, request))
        # Playwright takes choosers over only while somebody listens, and begins a little later.
        visit.page.on("filechooser", lambda chooser: _keep([], chooser))
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        visit.page.on("console", lambda told: _note(visit, told))
        if models is not None:
            listed = [
                {"name": name, "class_names": classes, "live_version": 1}
                for name, classes in models.items()
            ]
            address_of_list = f"{self.site.url}/v1/models?*"
            visit.page.route(address_of_list, lambda route: route.fulfill(json={"models": listed}))
        if below:
            prefix = f"{self.site.url}/{below}"
            visit.page.route(f"{prefix}/**", lambda route: _fetch_without(route, below))
            address = f"{below}/{address}"
        visit.page.goto(f"{self.site.url}/{address}")
        return visit

    def close(self) -> None:
        """Close everything that was opened; see that nothing was asked of strangers or failed."""
        for context in self._contexts:
            context.close()
        for visit in self.visits:
            assert visit.complaints == []
            hosts = {urlsplit(request.url).netloc for request in visit.asked}
            assert hosts <= {*self.site.hosts, ""}, "the page asked somebody else"


def _fetch_without(route: Route, prefix: str) -> None:
    """Answer as API Gateway does, where the app lives below a stage's name."""
    asked = route.request.url.replace(f"/{prefix}/", "/", 1)
    route.fulfill(response=route.fetch(url=asked))


def _keep(kept: list[Any], what: Any) -> None:
    """Append, as a function of our own: Playwright cannot hand events to a built-in one."""
    kept.append(what)


def _note(visit: Visit, told: Any) -> None:
    if told.type in ("error", "warning"):
        visit.complaints.append(told.text)


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Visitor]:
    visitor = Visitor(browser, site)
    yield visitor
    visitor.close()


@pytest.fixture
def ask(site: Site) -> Callable[..., Any]:
    """Ask the API directly, as a program would."""

    def ask(image: Path, model: str = "scratch", **query: Any) -> Any:
        wanted = f"{site.url}/v1/models/{model}/detections?{urlencode(query)}"
        headers = {"Content-Type": "application/octet-stream"}
        answer = requests.post(wanted, image.read_bytes(), headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask


@pytest.fixture
def keep(site: Site) -> Callable[..., str]:
    """Have a picture looked at and kept, as a program would; return the prediction's id."""

    def keep(picture: Path, **query: Any) -> str:
        wanted = f"{site.url}/v1/models/scratch/detections?{urlencode({**query, 'keep': 'true'})}"
        headers = {"Content-Type": "application/octet-stream"}
        answer = requests.post(wanted, picture.read_bytes(), headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["prediction_id"])

    return keep


TAKEN = {"state": "accepted", "message": "Thank you.", "changes": {}, "change": "new"}


class Desk:
    """The labelling tool with one photo open, driven by what a person sees and does."""

    def __init__(self, visit: Visit, prediction_id: str) -> None:
        self.visit = visit
        self.page = visit.page
        self.prediction_id = prediction_id

    def __getattr__(self, name: str) -> Any:
        return getattr(self.visit, name)

    def rows(self) -> list[str]:
        """Return what the list says of each box."""
        rows = self.page.locator("#list .row").all()
        return [str(row.get_attribute("aria-label")) for row in rows]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point of the photo, in its pixels, is in the window."""
        seen = self.page.locator("#frame").bounding_box()
        size = self.page.locator("#photo").evaluate("p => [p.naturalWidth, p.naturalHeight]")
        assert seen
        return seen["x"] + x / size[0] * seen["width"], seen["y"] + y / size[1] * seen["height"]

    def drag(self, start: tuple[float, float], end: tuple[float, float], **options: Any) -> None:
        """Drag the mouse from one point of the photo to another."""
        self.page.mouse.move(*self.at(*start))
        self.page.mouse.down(**options)
        self.page.mouse.move(*self.at(*end), steps=5)
        self.page.mouse.up(**options)
        self.settle()

    def settle(self) -> None:
        """Wait until the page has done what it put off until after an event."""
        self.page.evaluate("new Promise((done) => setTimeout(done))")

    def look(self) -> list[tuple[str, str]]:
        """Return what is seen of each box: its line in the list, and where it lies."""
        places = self.page.locator("#tags > *").evaluate_all("all => all.map(e => e.style.cssText)")
        return list(zip(self.rows(), places, strict=True))

    def click(self, x: float, y: float) -> None:
        """Click on a point of the photo."""
        self.page.mouse.click(*self.at(x, y))
        self.settle()

    def press(self, *keys: str) -> None:
        """Press keys, one after another."""
        for key in keys:
            self.page.keyboard.press(key)

    def zoom_to(self, x: float, y: float) -> None:
        """Turn the wheel over a point of the photo until it is as large as it gets."""
        for _ in range(60):
            self.page.mouse.move(*self.at(x, y))
            self.page.mouse.wheel(0, -400)
        self.page.mouse.move(*self.at(x, y))

    def send(self, name: str) -> Any:
        """Answer by a button, see that it is taken, and return what was sent."""
        with self.page.expect_request("**/submissions") as sent:
            self.page.get_by_role("button", name=name).click()
        self.page.locator("#outcome").wait_for()
        return sent.value.post_data_json

    def sent_edges(self, name: str = "Here are the right ones") -> list[tuple[float, ...]]:
        """Answer by a button, and return the edges of the boxes that were sent."""
        boxes = [box["box"] for box in self.send(name)["boxes"]]
        return [(box["x1"], box["y1"], box["x2"], box["y2"]) for box in boxes]

    def reload(self) -> None:
        """Load the page anew."""
        self.page.reload()
        self.page.locator("#work").wait_for()


@pytest.fixture
def desk(visit: Visitor, keep: Callable[..., str], sample: Callable[[int], Path]) -> Any:
    """Open the labelling tool with a photo, which is kept first.

    The model is the real one, with the class that it has, unless others are wanted: then its
    classes are made up, and so is what becomes of an answer.
    """

    def open_desk(
        picture: Path | None = None,
        classes: list[str] | None = None,
        confidence: float = 0.25,
        **options: Any,
    ) -> Desk:
        prediction_id = keep(picture or sample(1), confidence=confidence)
        page = visit("label", **options)
        if classes:
            page.route("**/v1/models/scratch", lambda route: _with_classes(route, classes))
            page.route("**/submissions", lambda route: route.fulfill(status=201, json=TAKEN))
        page.goto(f"{visit.site.url}/label?prediction={prediction_id}")
        page.locator("#work").wait_for()
        return Desk(page, prediction_id)

    return open_desk


def _with_classes(route: Route, classes: list[str]) -> None:
    answer = route.fetch()
    route.fulfill(response=answer, json={**answer.json(), "class_names": classes})


@pytest.fixture
def sample() -> Callable[[int], Path]:
    return lambda number: SAMPLES / f"tag-{number}.jpg"


@pytest.fixture
def make_picture(tmp_path: Path) -> Callable[..., Path]:
    """Write a picture made out of a sample: larger, of another format, turned, or broken off."""

    def make(
        name: str,
        *,
        sample: int = 1,
        size: tuple[int, int] | None = None,
        orientation: int | None = None,
        keep: float = 1.0,
        **options: Any,
    ) -> Path:
        image = Image.open(SAMPLES / f"tag-{sample}.jpg")
        exif = Image.Exif()
        if orientation:
            exif[0x0112] = orientation
        buffer = io.BytesIO()
        kind = {".png": "PNG", ".webp": "WEBP", ".bmp": "BMP"}.get(Path(name).suffix, "JPEG")
        image.resize(size or image.size).save(buffer, kind, exif=exif, **options)
        path = tmp_path / name
        path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * keep)])
        return path

    return make
