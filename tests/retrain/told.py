"""What a trainer says of a version beside the live one, as tests want it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chalicelib.retrain.measured import PERCENTS


def evidence(
    new: Sequence[float | None],
    live: Sequence[float | None],
    *,
    spread: float = 0.0,
    groups: int = 20,
) -> dict[str, Any]:
    """Return how sure the changes of AP50-95 are: evenly spread around what was measured."""
    changes = {
        class_id: after - before
        for class_id, (after, before) in enumerate(zip(new, live, strict=True))
        if after is not None and before is not None
    }

    def difference(value: float) -> dict[str, Any]:
        percentiles = [value + spread * (percent - 50) / 50 for percent in PERCENTS]
        return {"value": value, "percentiles": percentiles}

    gain = sum(changes.values()) / max(len(changes), 1)
    return {
        "images": 20,
        "groups": groups,
        "gain": difference(gain),
        "classes": {str(class_id): difference(change) for class_id, change in changes.items()},
    }
