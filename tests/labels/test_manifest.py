"""A dataset version has one form and one name, and is refused if it is anything else."""

from __future__ import annotations

import doctest
import gzip
import hashlib
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import chalicelib.labels.manifest
from chalicelib.errors import InvalidManifest, ObjectNotFound
from chalicelib.labels.manifest import Entry, Manifest, Summary, write
from chalicelib.labels.materialise import materialise

NAMES = ("scratch", "Delle 🔩")
PHOTOS = {hashlib.sha256(body).hexdigest(): body for body in (b"one", b"two", b"three", b"four")}


def test_the_examples_are_true() -> None:
    assert doctest.testmod(chalicelib.labels.manifest).failed == 0


def entry(sha256: str, **other: object) -> Entry:
    plain = Entry(sha256, "jpg", "train", 450, 300, "0 0.5 0.5 0.25 0.125", 1, False)
    return replace(plain, **other)  # type: ignore[arg-type]


ENTRIES = [
    entry(sha256, side=side, label=label, leaking=leaking)
    for sha256, (side, label, leaking) in zip(
        sorted(PHOTOS),
        [
            ("train", "0 0.5 0.5 0.2 0.1\n1 0.1 0.1 0.1 0.1", False),
            ("train", "", False),
            ("valid", "0 0.5 0.5 0.2 0.1", False),
            ("valid", "0 0.5 0.5 0.2 0.1", True),
        ],
        strict=True,
    )
]


def written(entries: Iterable[Entry] = ENTRIES) -> tuple[io.BytesIO, Summary]:
    file = io.BytesIO()
    return file, write(file, "tags", NAMES, entries)


@pytest.fixture
def manifest() -> Manifest:
    file, summary = written()
    return Manifest(file, summary.sha256)


def test_what_is_written_is_read(manifest: Manifest) -> None:
    assert list(manifest) == list(manifest) == ENTRIES
    assert (manifest.model, manifest.class_names) == ("tags", NAMES)


def test_the_summary_counts_what_is_in_it() -> None:
    file, summary = written()

    unpacked = gzip.decompress(file.getvalue())
    assert (summary.train, summary.valid, summary.leaking, summary.boxes) == (2, 2, 1, 4)
    assert summary.bytes == len(unpacked)
    assert summary.sha256 == hashlib.sha256(unpacked).hexdigest()


def test_its_form_is_fixed() -> None:
    file, _ = written(ENTRIES[:1])

    lines = gzip.decompress(file.getvalue()).decode().splitlines()
    assert lines == [
        '{"class_names":["scratch","Delle 🔩"],"format":"sightloop-dataset/1","model":"tags"}',
        '{"extension":"jpg","height":300,"label":"0 0.5 0.5 0.2 0.1\\n1 0.1 0.1 0.1 0.1",'
        f'"label_id":1,"leaking":false,"sha256":"{min(PHOTOS)}","side":"train","width":450}}',
    ]


def test_the_same_content_is_the_same_file_in_another_process() -> None:
    code = (
        "import io; from chalicelib.labels.manifest import *; f = io.BytesIO();"
        "e = [Entry(f'{n:064x}', 'png', 'valid', 9, 8, '', n, False) for n in range(500)];"
        "print(write(f, 'm', ['ä'], e).sha256, hashlib.sha256(f.getvalue()).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C"},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }

    assert len(said) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"label": "0 0.5 0.5 0.2 0.2"},
        {"side": "valid"},
        {"label_id": 2},
        {"leaking": True},
        {"extension": "png"},
        {"width": 451},
    ],
)
def test_any_difference_is_another_name(other: dict[str, object]) -> None:
    changed = [*ENTRIES[:1], replace(ENTRIES[1], **other), *ENTRIES[2:]]  # type: ignore[arg-type]

    assert written(changed)[1].sha256 != written()[1].sha256


@pytest.mark.parametrize("entries", [ENTRIES[::-1], [ENTRIES[0], ENTRIES[0]]])
def test_images_come_sorted_and_once(entries: list[Entry]) -> None:
    with pytest.raises(ValueError, match="comes after"):
        written(entries)


def test_an_empty_dataset_has_a_version_too() -> None:
    file, summary = written([])

    assert list(Manifest(file, summary.sha256)) == []
    assert (summary.train, summary.valid) == (0, 0)


def test_another_name_is_refused() -> None:
    with pytest.raises(InvalidManifest, match="another's name"):
        Manifest(written()[0], "0" * 64)


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_file_is_refused(seed: int) -> None:
    file, summary = written()
    damaged = bytearray(file.getvalue())
    rng = random.Random(seed)
    place = rng.randrange(
        10, len(damaged)
    )  # before that is the header, which holds nothing of ours
    if seed % 2:
        damaged[place] ^= 1 << rng.randrange(8)
    else:
        del damaged[place:]

    with pytest.raises(InvalidManifest):
        Manifest(io.BytesIO(bytes(damaged)), summary.sha256)


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"[]\n",
        b"not json\n",
        b'{"format": "other/1", "model": "m", "class_names": []}\n',
        b'{"format": "sightloop-dataset/1"}\n',
        b'{"format":"sightloop-dataset/1","model":"m","class_names":[]}\n{"sha256": "x"}\n',
        b'{"format":"sightloop-dataset/1","model":"m","class_names":[]}\n17\n',
    ],
)
def test_a_file_of_another_kind_is_refused_though_its_name_is_right(lines: bytes) -> None:
    with pytest.raises(InvalidManifest):
        list(Manifest(io.BytesIO(gzip.compress(lines)), hashlib.sha256(lines).hexdigest()))


def fetch(entry: Entry) -> bytes:
    return PHOTOS[entry.sha256]


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_folder_for_training_holds_images_and_labels(manifest: Manifest, tmp_path: Path) -> None:
    made = materialise(manifest, fetch, tmp_path)

    first, second, third, _ = ENTRIES
    assert files(tmp_path).keys() - {"data.yaml"} == {
        f"{kind}/{each.side}/{each.sha256}.{suffix}"
        for each in (first, second, third)
        for kind, suffix in (("images", "jpg"), ("labels", "txt"))
    }
    label = (tmp_path / f"labels/train/{first.sha256}.txt").read_text(encoding="utf-8")
    assert label == "0 0.5 0.5 0.2 0.1\n1 0.1 0.1 0.1 0.1\n"
    assert (tmp_path / f"labels/train/{second.sha256}.txt").read_bytes() == b""
    assert (made.train, made.valid, made.left_out) == (2, 1, 1)
    told = yaml.safe_load(made.data_yaml.read_text(encoding="utf-8"))
    assert told["names"] == list(NAMES)
    assert (told["train"], told["val"], told["nc"]) == ("images/train", "images/valid", 2)
    assert told["dataset"] == manifest.sha256


@pytest.mark.parametrize(("gone", "images"), [(1, 20), (2, 39)])
def test_a_deleted_image_is_left_out_and_many_are_a_fault(
    tmp_path: Path, gone: int, images: int
) -> None:
    content = {hashlib.sha256(text).hexdigest(): text for text in map(b"%d".__mod__, range(images))}
    missing = sorted(content)[:gone]
    file = io.BytesIO()
    written = write(file, "scratch", NAMES, [entry(each) for each in sorted(content)])

    def fetch_what_is_there(wanted: Entry) -> bytes:
        if wanted.sha256 in missing:
            raise ObjectNotFound("the image is gone")
        return content[wanted.sha256]

    if gone > 1:
        with pytest.raises(ObjectNotFound):
            materialise(Manifest(file, written.sha256), fetch_what_is_there, tmp_path)
    else:
        made = materialise(Manifest(file, written.sha256), fetch_what_is_there, tmp_path)
        assert (made.train + made.valid, made.left_out) == (images - 1, 1)


def test_who_was_interrupted_goes_on(manifest: Manifest, tmp_path: Path) -> None:
    def breaks_off(entry: Entry) -> bytes:
        if entry == ENTRIES[2]:
            raise ConnectionError("the line is cut")
        return fetch(entry)

    with pytest.raises(ConnectionError):
        materialise(manifest, breaks_off, tmp_path)
    assert not (tmp_path / "data.yaml").exists()
    fetched: list[str] = []

    def counted(entry: Entry) -> bytes:
        fetched.append(entry.sha256)
        return fetch(entry)

    materialise(manifest, counted, tmp_path)
    assert fetched == [ENTRIES[2].sha256]


def test_a_file_that_is_damaged_is_fetched_anew(manifest: Manifest, tmp_path: Path) -> None:
    materialise(manifest, fetch, tmp_path)
    whole = files(tmp_path)
    (tmp_path / f"images/train/{ENTRIES[0].file_name}").write_bytes(b"half")

    materialise(manifest, fetch, tmp_path)
    assert files(tmp_path) == whole


def test_another_image_under_the_name_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match="not the one that was named"):
        materialise(manifest, lambda _: b"another", tmp_path)
    assert not (tmp_path / "data.yaml").exists()


@pytest.mark.parametrize("foreign", ["images/train/other.jpg", "labels/valid/other.txt"])
def test_a_folder_with_other_images_is_refused(
    manifest: Manifest, tmp_path: Path, foreign: str
) -> None:
    materialise(manifest, fetch, tmp_path)
    (tmp_path / foreign).write_bytes(b"")

    with pytest.raises(InvalidManifest, match="take an empty folder"):
        materialise(manifest, fetch, tmp_path)
    assert not (tmp_path / "data.yaml").exists()


def test_reading_holds_one_line_at_a_time(
    tmp_path: Path, traced: Callable[[Callable[[], object]], int]
) -> None:
    images = (entry(f"{number:064x}") for number in range(50_000))
    path = tmp_path / "manifest.jsonl.gz"
    with path.open("wb") as file:
        summary = write(file, "tags", NAMES, images)
    assert summary.bytes > 9_000_000

    with path.open("rb") as file:
        held = traced(lambda: sum(1 for _ in Manifest(file, summary.sha256)))

    assert held < 2_000_000


@pytest.fixture
def traced() -> Callable[[Callable[[], object]], int]:
    """Return the bytes that Python held at most while something ran."""
    import tracemalloc  # noqa: PLC0415

    def trace(run: Callable[[], object]) -> int:
        tracemalloc.start()
        try:
            run()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return trace


def test_lines_are_json() -> None:
    file, _ = written()

    for line in gzip.decompress(file.getvalue()).splitlines():
        assert json.loads(line)
