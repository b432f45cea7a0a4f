"""Moments that pydantic's models hold."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import AwareDatetime, BaseModel, TypeAdapter, ValidationError

import chalicelib
from chalicelib import moment

MOMENT = TypeAdapter(moment.Moment)
# Held by what only the very last collection finds, a moment outlives the module datetime.
HOLD_TO_THE_END = """
import logging
from chalicelib.catalog.model import ModelFile

text = b"{name: scratch, names: [dent], nc: 1, promoted_at: '2026-11-22T01:02:03Z'}"
logging.getLogger("held").model = ModelFile.parse(text, "model.yaml")
"""


@pytest.mark.parametrize(
    "told",
    [
        "2026-11-22T01:02:03Z",
        "2026-11-22T03:02:03+02:00",
        datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC),
        datetime(2026, 11, 21, 23, 2, 3, tzinfo=timezone(timedelta(hours=-2))),
    ],
)
def test_a_moment_is_held_in_utc(told: Any) -> None:
    held = MOMENT.validate_python(told)
    assert (held, held.tzinfo) == (datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC), UTC)
    assert MOMENT.dump_json(held) == b'"2026-11-22T01:02:03Z"'


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ("2026-11-22T01:02:03", "timezone"),
        ("0001-01-01T00:00:00+02:00", "a moment that there is in UTC too"),
    ],
)
def test_what_is_no_moment_in_utc_is_refused(told: str, fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        MOMENT.validate_python(told)


def test_a_process_that_holds_a_moment_ends_well() -> None:
    environment = {**os.environ, "PYTHONMALLOC": "debug"}  # what is freed is overwritten
    subprocess.run([sys.executable, "-c", HOLD_TO_THE_END], env=environment, check=True)


def moments(told: Any, metadata: Iterable[Any] = ()) -> Iterator[bool]:
    """Yield for each moment in an annotation whether it is of our kind."""
    if isinstance(told, type) and issubclass(told, datetime | AwareDatetime):
        yield get_args(moment.Moment)[1] in metadata
    if get_origin(told) is Annotated:
        yield from moments(told.__origin__, told.__metadata__)
    else:
        for part in get_args(told):
            yield from moments(part)


def test_no_model_holds_a_moment_of_another_kind() -> None:
    modules = pkgutil.walk_packages(chalicelib.__path__, "chalicelib.")
    of_our_kind = {
        f"{each.__module__}.{each.__name__}.{name}": all(found)
        for module in modules
        for each in vars(importlib.import_module(module.name)).values()
        if isinstance(each, type) and issubclass(each, BaseModel)
        for name, field in each.model_fields.items()
        if (found := list(moments(field.annotation, field.metadata)))
    }
    assert of_our_kind["chalicelib.catalog.model.ModelFile.promoted_at"]
    assert not [name for name, ours in of_our_kind.items() if not ours]
