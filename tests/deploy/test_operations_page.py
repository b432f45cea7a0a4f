"""docs/operations.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chalicelib.settings import Settings
from deploy import __main__ as command
from deploy.policies import policy
from deploy.stages import DEFAULTS, FUNCTIONS

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/operations.md").read_text("utf-8")
ON_ONE_LINE = re.sub(r"\s*\\\n\s*", " ", PAGE)
COMMAND = r"python -m deploy ((?!\.)[^`\n]+)"
Row = list[str]


def table(heading: str) -> list[Row]:
    """Return the rows of a section's first table, without its head."""
    section = PAGE.split(f"# {heading}\n")[1]
    lines = re.findall(r"((?:^\|.*\n)+)", section, re.M)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_setting_is_there_with_its_default() -> None:
    told = {name.strip("`"): default.strip("`") for name, default, _ in table("Settings")}

    assert told == {
        f"SIGHTLOOP_{name.upper()}": str(field.default)
        for name, field in Settings.model_fields.items()
    }


def test_every_setting_says_what_it_does() -> None:
    assert all(len(row[2]) > 8 for row in table("Settings"))


def test_every_function_is_there_with_its_memory_and_timeout() -> None:
    told = {row[0].strip("`"): (int(row[2]), int(row[3])) for row in table("Functions")}

    assert told == {name: (s.memory_mb, s.timeout_seconds) for name, s in FUNCTIONS.items()}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_a_function_may_do_is_what_its_policy_says(function: str) -> None:
    told: dict[str, set[str]] = {}
    name = ""
    for first, _, actions in table("What each function may do"):
        name = first.strip("`") or name
        told.setdefault(name, set()).update(re.findall(r"`(\w+:\w+)`", actions))

    statements = policy(DEFAULTS[0], function)["Statement"]
    allowed = {action for statement in statements for action in statement["Action"]}
    assert told[function] | told["each"] == allowed


def test_every_metric_is_explained() -> None:
    told = set(re.findall(r"`(\w+)`", " ".join(row[0] for row in table("Watch"))))

    sent = {
        name
        for file in (ROOT / "chalicelib").rglob("*.py")
        for line in file.read_text("utf-8").splitlines()
        if "add_metric(" in line or "outcome = " in line or "outcome_metric = " in line
        for name in re.findall(r'"(\w+)"', line)
    }
    assert told == sent


@pytest.mark.parametrize("line", sorted(set(re.findall(COMMAND, ON_ONE_LINE))))
def test_every_command_is_one(line: str) -> None:
    parsed = command.parser().parse_args(line.split(" #", maxsplit=1)[0].split())

    assert parsed.command == line.split(maxsplit=1)[0]


def test_every_make_target_is_one() -> None:
    makefile = (ROOT / "Makefile").read_text()

    for target in re.findall(r"make ([a-z]+) STAGE=", PAGE):
        assert re.search(rf"^{target}:.*##", makefile, re.M), target
