"""Which media type an Accept header chooses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import NotAcceptable
from chalicelib.web.negotiation import choose

JSON, JPEG = OFFERED = ("application/json", "image/jpeg")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        ("application/json; charset=utf-8", JSON),
        ("APPLICATION/*", JSON),
        ("image/jpeg", JPEG),
        ("Image/JPEG", JPEG),
        ("image/*", JPEG),
        ("image/jpeg, application/json", JSON),
        ("image/jpeg, application/json;q=0.9", JPEG),
        ("image/jpeg;q=0.5, application/json;q=0.4", JPEG),
        ("image/jpeg;q=0.2, */*;q=0.1", JPEG),
        ("*/*, application/json;q=0", JPEG),
        ("application/json;q=0.5, application/json;q=0.9, image/jpeg;q=0.7", JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8", JSON),
        ("image/webp,image/*,*/*;q=0.8", JPEG),
        ("image/jpeg ; q=1.000 , text/plain", JPEG),
    ],
)
def test_the_most_wanted_type_is_chosen(accept: str | None, chosen: str) -> None:
    assert choose(accept, OFFERED) == chosen


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "image/png",
        "*/*;q=0",
        "image/jpeg;q=0, application/json;q=0",
        "application/json;q=high",
        "application/json;q=nan",
        "nonsense",
        ";;;",
        "*",
    ],
)
def test_what_cannot_be_answered_is_refused_with_what_can(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="accept one of application/json, image/jpeg"):
        choose(accept, OFFERED)


@given(st.text())
def test_any_header_is_answered_or_refused(accept: str) -> None:
    try:
        assert choose(accept, OFFERED) in OFFERED
    except NotAcceptable as refused:
        assert refused.status == 406
