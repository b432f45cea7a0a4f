"""The examples in the docstrings of the core are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import chalicelib.vision

MODULES = [entry.name for entry in pkgutil.iter_modules(chalicelib.vision.__path__)]


@pytest.mark.parametrize("name", ["", *(f".{module}" for module in MODULES)])
def test_examples_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"chalicelib.vision{name}")).failed == 0


def test_there_are_examples() -> None:
    modules = [importlib.import_module(f"chalicelib.vision.{module}") for module in MODULES]

    assert sum(doctest.testmod(module).attempted for module in modules) >= 4
