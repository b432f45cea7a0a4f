"""What people write under their photos."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.bot.captions import (
    USAGE,
    Blur,
    Concat,
    Contour,
    Count,
    Misunderstood,
    Predict,
    Rotate,
    SaltAndPepper,
    Segment,
    Wish,
    understand,
)


@pytest.mark.parametrize(
    ("caption", "wish"),
    [
        ("predict", Predict()),
        ("Predict scratch", Predict("scratch")),
        ("  PREDICT\n scratch ", Predict("scratch")),
        ("/predict@sightloop_bot scratch", Predict("scratch")),
        ("/Predict@Sightloop_Bot", Predict()),
        ("count", Count()),
        ("count people", Count("people")),
        ("count traffic lights", Count("traffic lights")),
        ("blur", Blur(16)),
        ("blur 1", Blur(1)),
        ("Blur 255", Blur(255)),
        ("contour", Contour()),
        ("segment", Segment()),
        ("rotate", Rotate(90)),
        ("rotate clockwise", Rotate(90)),
        ("rotate anti-clockwise", Rotate(270)),
        ("rotate anti\u2010clockwise", Rotate(270)),
        ("rotate 180", Rotate(180)),
        ("rotate 270°", Rotate(270)),
        ("rotate clockwise 270", Rotate(270)),
        ("rotate 270 clockwise", Rotate(270)),
        ("rotate anti-clockwise 270", Rotate(90)),
        ("rotate 180 anti-clockwise", Rotate(180)),
        ("salt and pepper", SaltAndPepper(0.05)),
        ("Salt and Pepper 0.2", SaltAndPepper(0.2)),
        ("salt & pepper .5", SaltAndPepper(0.5)),
        ("salt&pepper 1", SaltAndPepper(1.0)),
        ("salt and pepper 0,1", SaltAndPepper(0.1)),
        ("salt and pepper 5 %", SaltAndPepper(0.05)),
        ("/salt_and_pepper 0", SaltAndPepper(0.0)),
        ("concat", Concat("horizontal", True)),
        ("concat horizontal", Concat("horizontal", True)),
        ("concat vertical", Concat("vertical", True)),
        ("concat right-to-left", Concat("horizontal", True)),
        ("concat left-to-right", Concat("horizontal", False)),
        ("concat bottom-to-top", Concat("vertical", True)),
        ("concat top-to-bottom vertical", Concat("vertical", False)),
    ],
)
def test_a_caption_is_understood(caption: str, wish: Wish) -> None:
    assert understand(caption, bot="sightloop_bot") == wish


@pytest.mark.parametrize(
    "caption",
    [
        "predict two models",
        "salt and pepper 0 1",
        "salt and pepper 0. 1",
        "blur 0",
        "blur -3",
        "blur 256",
        "blur 1e3",
        "blur 4 5",
        "blur much",
        "blur ²",
        "rotate 45",
        "rotate 90 180",
        "rotate clockwise anti-clockwise",
        "rotate 90 clockwise please",
        "salt and pepper 1.5",
        "salt and pepper 101 %",
        "salt and pepper -0.1",
        "salt and pepper nan",
        "salt and pepper a lot",
        "contour 3",
        "segment now",
        "concat diagonal",
        "concat horizontal vertical",
        "concat right-to-left left-to-right",
    ],
)
def test_a_wrong_parameter_is_answered_with_the_usage(caption: str) -> None:
    wish = understand(caption)

    assert isinstance(wish, Misunderstood)
    assert wish.usage in USAGE.values()
    assert wish.usage.split()[0] == caption.split(maxsplit=1)[0]
    assert wish.fault


@pytest.mark.parametrize("caption", ["", " ", "hello", "salt", "salt and", "/start", "blurry", "/"])
def test_what_is_no_command_is_none(caption: str) -> None:
    assert understand(caption) is None


def test_a_command_for_another_bot_is_not_for_us() -> None:
    assert understand("/predict@other_bot scratch", bot="sightloop_bot") is None


@pytest.mark.parametrize(
    ("caption", "direction"),
    [
        ("concat horizontal top-to-bottom", "vertical"),
        ("concat vertical left-to-right", "horizontal"),
    ],
)
def test_sides_decide_where_the_direction_disagrees(caption: str, direction: str) -> None:
    wish = understand(caption)

    assert isinstance(wish, Concat)
    assert wish.direction == direction
    assert direction in wish.note


@given(st.text(max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    understand(text, bot="sightloop_bot")
    for command in USAGE:
        understand(f"{command} {text}")
