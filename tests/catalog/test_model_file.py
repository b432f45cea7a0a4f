"""`model.yaml` and `metrics.json`: what is written is read back, and nothing else is taken."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.catalog import ModelFile, VersionMetrics
from chalicelib.errors import InvalidModel

GOOD = "name: scratch\nnames: [scratch, dent]\nnc: 2\n"
NAMES = st.lists(st.text(min_size=1).filter(lambda text: "\x00" not in text), min_size=1)


@given(
    names=NAMES,
    live=st.none() | st.integers(1, 10**9),
    sizes=st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)),
    precision=st.none() | st.floats(0, 1),
    promoted=st.none() | st.datetimes(timezones=st.just(UTC)),
)
def test_what_is_written_is_read_back(names, live, sizes, precision, promoted) -> None:
    file = ModelFile(
        name="scratch",
        names=tuple(names),
        nc=len(names),
        live_version=live,
        training_set_size=sizes[0],
        validation_set_size=sizes[1],
        validation_APs=(precision,) * len(names),
        promoted_at=promoted,
    )

    assert ModelFile.parse(file.to_yaml(), "model.yaml") == file


def test_a_file_written_by_hand_is_read() -> None:
    file = ModelFile.parse(
        b"name: scratch\nnames: [scratch]\nnc: 1\nlive_version: 3\n"
        b"validation_APs: [null]\npromoted_at: 2026-11-21T08:00:00Z\nnote: by hand\n",
        "model.yaml",
    )

    assert (file.live_version, file.validation_APs) == (3, (None,))
    assert file.promoted_at == datetime(2026, 11, 21, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "the file"),
        ("[]", "the file"),
        ("just words", "the file"),
        ("a: [unclosed", "flow sequence"),
        ("\x00", "special characters"),
        (GOOD.replace("scratch\n", "../scratch\n", 1), "name"),
        (GOOD.replace("nc: 2", "nc: 3"), "nc is 3"),
        (GOOD.replace("[scratch, dent]", "[]"), "names"),
        (GOOD.replace("[scratch, dent]", "{0: scratch, 1: dent}"), "names"),
        (GOOD.replace("dent", "[dent]"), "names.1"),
        (GOOD + "live_version: 0", "live_version"),
        (GOOD + "live_version: newest", "live_version"),
        (GOOD + "live_version: .inf", "live_version"),
        (GOOD + "live_version: " + "9" * 5000, "digits"),
        (GOOD + "training_set_size: -1", "training_set_size"),
        (GOOD + "validation_APs: [1.5]", "validation_APs.0"),
        (GOOD + "validation_APs: [0.1, 0.2, 0.3]", "validation_APs has 3"),
        (GOOD + "promoted_at: 2026-11-21 08:00:00", "promoted_at"),
        (GOOD + "promoted_at: 2026-13-45", "month"),
    ],
)
def test_a_file_that_is_none_is_refused_and_the_fault_is_named(text: str, named: str) -> None:
    with pytest.raises(InvalidModel, match=named) as refused:
        ModelFile.parse(text.encode(), "models/scratch/model.yaml")

    assert refused.value.detail.startswith("models/scratch/model.yaml: ")


@pytest.mark.parametrize(
    "text",
    [
        b"!!python/object/apply:os.system [id]",
        b"name: !!int ''",
        b"name: !!float ''",
        b"name: !!bool maybe",
        b"name: !!timestamp never",
        b"name: !!binary '?'",
        b"&a [*a]",
        b"name: &a [*a]",
        b"[" * 20_000,
        b"{a: " * 5_000,
        b"a: &a [x, x, x, x, x, x, x, x, x]\n"
        + b"".join(
            b"%c: &%c [%s]\n" % (98 + i, 98 + i, b", ".join([b"*%c" % (97 + i)] * 9))
            for i in range(20)
        ),
        b"\xff\xfe\xfa",
        b"a" * (2 * 1024 * 1024),
    ],
)
def test_a_hostile_file_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidModel):
        ModelFile.parse(text, "model.yaml")


@given(st.binary(max_size=200) | st.text(alphabet="&*!:-[]{},'\"|>#%@?\n nacme012", max_size=200))
def test_random_bytes_are_a_file_or_refused(text: bytes | str) -> None:
    try:
        ModelFile.parse(text if isinstance(text, bytes) else text.encode(), "model.yaml")
    except InvalidModel as refused:
        assert refused.detail.startswith("model.yaml: ")


def test_average_precisions_are_told_by_class_id() -> None:
    metrics = VersionMetrics.parse(
        b'{"mAP50": 0.8, "mAP50-95": 0.4, "settings": {"epochs": 3}, "per_class": ['
        b'{"class_id": 2, "class_name": "c", "AP50": 0.5, "AP50-95": 0.2},'
        b'{"class_id": 0, "class_name": "a", "AP50": null}]}',
        "metrics.json",
    )

    assert metrics.average_precisions(3) == (None, None, 0.5)
    assert (metrics.map50, metrics.map50_95) == (0.8, 0.4)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{", b"\xff", b'{"mAP50": 2}', b'{"mAP50": NaN}', b'{"per_class": [{}]}'],
)
def test_metrics_that_are_none_are_refused(text: bytes) -> None:
    with pytest.raises(InvalidModel, match=r"^metrics\.json: "):
        VersionMetrics.parse(text, "metrics.json")
