"""What the bot says of what was found."""

from __future__ import annotations

import pytest

from chalicelib.bot import words

CLASSES = ["glass", "glasses", "Bus"]
ANSWER = {
    "model": "table",
    "version": 3,
    "detections": [
        {"class_name": name, "confidence": 0.9} for name in ("glass", "glass", "glasses", "Bus")
    ],
}


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("glass", "glass: 2"),
        ("glasses", "glasses: 1"),
        ("buses", "buses: 1"),
        ("forks", "table knows no forks: it knows glass, glasses and Bus."),
    ],
)
def test_a_class_by_its_own_name_is_never_taken_for_the_plural_of_another(
    wanted: str, told: str
) -> None:
    assert words.counted(ANSWER, CLASSES, wanted) == told
    assert (
        words.counted(ANSWER, CLASSES[::-1], wanted).partition(" it knows")[0]
        == (told.partition(" it knows")[0])
    )
