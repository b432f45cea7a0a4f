"""Values as PostgreSQL takes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from psycopg2.extras import Json
from pydantic_core import to_json

from chalicelib.database import storable

LONGEST_TEXT = 2_000


def json(value: Mapping[str, Any]) -> Json:
    """Return JSON; what is not finite is null."""
    return Json(dict(value), dumps=lambda each: to_json(each, inf_nan_mode="null").decode())


def finite(value: float | None) -> float | None:
    """Return a number that is finite, or none."""
    return value if value is not None and math.isfinite(value) else None


def text(told: str) -> str:
    """Return words, of 2,000 characters at most and without the one that PostgreSQL refuses."""
    kept = storable(told).strip()[:LONGEST_TEXT]
    return kept or "no reason was given"
