"""The page's files, as they ship: small, and without an address of anybody else's."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from chalicelib.web.routes import dressed

STATIC = Path(__file__).parents[2] / "chalicelib/web/static"
CHAT = Path(__file__).parents[2] / "local/telegram/page"
KINDS = {".js", ".css", ".html", ".svg"}
PAGES = sorted(STATIC.glob("*.html"))
SHIPPED = sorted(path for path in STATIC.iterdir() if path.suffix in KINDS)
LOCAL = sorted(CHAT.iterdir())
CODE = [*SHIPPED, *LOCAL]
SAMPLES = sorted((STATIC / "samples").iterdir())
NAMESPACE = "http://www.w3.org/2000/svg"


def imported_by(path: Path) -> set[str]:
    return set(re.findall(r"^(?:import|} from).*'\./([^']+)'", path.read_text(), re.M))


def served(page: Path) -> str:
    """Return a page as its readers get it, with what all pages share."""
    address = f"/{page.stem}"
    return dressed(page.read_bytes(), address, address).decode()


def reached_from(page: Path) -> set[str]:
    reached = {page.name, *re.findall(r'(?:href|src)="static/([^"]+)"', served(page))}
    while (
        more := set().union(*(imported_by(STATIC / name) for name in reached if "/" not in name))
        - reached
    ):
        reached |= more
    return reached


def test_the_pages_are_whole() -> None:
    ours = {name for page in PAGES for name in reached_from(page) if "/" not in name}
    assert sorted(ours) == [path.name for path in SHIPPED]
    shown = re.findall(r'src="samples/([^"]+)"', (STATIC / "index.html").read_text())
    assert shown == [path.name for path in SAMPLES]


def test_the_chat_is_whole_and_uses_only_what_there_is() -> None:
    text = served(CHAT / "bot.html") + "".join(path.read_text() for path in LOCAL)
    linked = re.findall(r'(?:href|src)="bot/([^"]+)"', text)
    own = {*linked, *re.findall(r"from '\./([^']+)'", text), "bot.html"}
    assert own == {path.name for path in LOCAL}
    shared = {*re.findall(r'(?:href|src)="static/([^"]+)"', text)}
    shared |= set(re.findall(r"from '\.\./static/([^']+)'", text))
    assert shared <= {path.name for path in SHIPPED}


@pytest.mark.parametrize("page", [*PAGES, CHAT / "bot.html"], ids=lambda path: path.name)
def test_a_page_has_a_place_for_the_links_to_all(page: Path) -> None:
    assert page.read_text().count("<!-- pages -->") == 1


@pytest.mark.parametrize("page", [*PAGES, CHAT / "bot.html"], ids=lambda path: path.name)
def test_what_begins_the_head_of_every_page_is_said_once(page: Path) -> None:
    assert page.read_text().count("<head>\n<!-- head -->\n") == 1
    heads = re.findall(r"<(?:meta|link)[^>]*>", served(page).partition("</head>")[0])
    assert '<meta name="referrer" content="no-referrer">' in heads
    assert '<meta charset="utf-8">' in heads
    assert len(heads) == len(set(heads))


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.name)
def test_every_address_is_relative(path: Path) -> None:
    text = (served(path) if path.suffix == ".html" else path.read_text()).replace(NAMESPACE, "")
    assert not re.findall(r"https?://|[\"'(`]//", text)
    assert not re.findall(
        r"""(?:href|src|action)=["']/|fetch\(["'`]/|from ["']/|url\(["']?/""", text
    )


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.name)
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_samples_are_light(path: Path) -> None:
    assert path.stat().st_size < 60_000


def test_every_exported_function_says_what_it_does() -> None:
    for path in CODE:
        if path.suffix == ".js":
            for match in re.finditer(
                r"^export (?:async )?(?:function|class|const) (\w+)", path.read_text(), re.M
            ):
                before = path.read_text()[: match.start()].rstrip()
                assert before.endswith("*/"), f"{path.name}: {match[1]}"


def test_libraries_are_what_their_note_says_and_bring_their_licences() -> None:
    vendored = STATIC / "vendor"
    noted = dict(
        reversed(line.split("  "))
        for line in (vendored / "SOURCES.txt").read_text().splitlines()
        if re.match("[0-9a-f]{64}  ", line)
    )
    files = {path.name: path for path in vendored.iterdir() if path.suffix != ".txt"}
    assert noted == {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()
    }
    assert "Redistribution and use" in (vendored / "LICENSES.txt").read_text()
