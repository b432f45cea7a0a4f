"""The examples in the docstrings of the score and the second signal are true."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = (
    "boxes",
    "changes",
    "grading",
    "policy",
    "records",
    "score",
    "signal",
    "standing",
    "verdict",
)


@pytest.mark.parametrize("name", ["", *(f".{module}" for module in MODULES)])
def test_examples_are_true(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(f"chalicelib.trust{name}"))

    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_the_examples_in_the_documentation_are_true() -> None:
    outcome = doctest.testfile(str(ROOT / "docs/trust.md"), module_relative=False)

    assert outcome.attempted >= 8
    assert outcome.failed == 0


def test_judging_needs_neither_aws_nor_a_database() -> None:
    heavy = ["boto3", "botocore", "psycopg2", "pydantic", "chalice"]
    code = f"import sys, chalicelib.trust; print([m for m in {heavy} if m in sys.modules])"

    seen = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)

    assert seen.stdout.decode().strip() == "[]"
