"""The page's files, as they ship: small, and without an address of anybody else's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[2] / "chalicelib/web/static"
PAGE = STATIC / "index.html"
CODE = sorted(path for path in STATIC.iterdir() if path.suffix in {".js", ".css", ".html", ".svg"})
SAMPLES = sorted((STATIC / "samples").iterdir())
NAMESPACE = "http://www.w3.org/2000/svg"


def imported_by(path: Path) -> set[str]:
    return set(re.findall(r"^(?:import|} from).*'\./([^']+)'", path.read_text(), re.M))


def test_the_page_is_whole() -> None:
    text = PAGE.read_text()
    reached = {"index.html", *re.findall(r'(?:href|src)="static/([^"]+)"', text)}
    while more := set().union(*(imported_by(STATIC / name) for name in reached)) - reached:
        reached |= more
    assert sorted(reached) == [path.name for path in CODE]
    shown = re.findall(r'src="samples/([^"]+)"', text)
    assert shown == [path.name for path in SAMPLES]


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.name)
def test_every_address_is_relative(path: Path) -> None:
    text = path.read_text().replace(NAMESPACE, "")
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
