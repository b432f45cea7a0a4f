"""A ZIP in pieces is a ZIP, wherever it was cut and however large it is."""

from __future__ import annotations

import doctest
import io
import zipfile
from datetime import datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.labels.transfers import zip_parts
from chalicelib.labels.transfers.zip_parts import ZipFileState, ZipState, ZipWriter, ending

WHEN = datetime(2026, 11, 21, 13, 14, 16)
GIB = 1024**3

names = st.text(st.characters(codec="utf-8", exclude_characters="\0/\\"), min_size=1, max_size=9)
files = st.dictionaries(names, st.lists(st.binary(max_size=200), max_size=4), max_size=6)


class Parts:
    """What several writers wrote, one after another."""

    def __init__(self, state: ZipState | None = None) -> None:
        self.content, self.records = bytearray(), bytearray()
        self.state = state or ZipState()
        self.writer = ZipWriter(self.state, WHEN)

    def cut(self) -> None:
        """Let another go on."""
        self.state = self.writer.pause()
        self.content += self.writer.content
        self.records += self.writer.records
        self.writer = ZipWriter(self.state, WHEN)

    def whole(self) -> bytes:
        self.cut()
        return bytes(self.content + self.records) + ending(self.state)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(files, st.data())
def test_all_files_are_read_back_wherever_it_was_cut(
    wanted: dict[str, list[bytes]], data: st.DataObject
) -> None:
    parts = Parts()
    for name, pieces in wanted.items():
        way = data.draw(st.sampled_from(["stored", "packed", "in pieces"]))
        if way == "in pieces":
            parts.writer.begin(name)
            for piece in pieces:
                parts.writer.more(piece)
                if data.draw(st.booleans()):
                    parts.cut()
            parts.writer.end()
        else:
            parts.writer.add(name, b"".join(pieces), packed=way == "packed")
        if data.draw(st.booleans()):
            parts.cut()

    with zipfile.ZipFile(io.BytesIO(parts.whole())) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == list(wanted)
        assert {name: archive.read(name) for name in wanted} == {
            name: b"".join(pieces) for name, pieces in wanted.items()
        }
        assert all(info.date_time == (2026, 11, 21, 13, 14, 16) for info in archive.infolist())


def test_what_is_written_again_from_the_same_state_is_the_same() -> None:
    before = Parts()
    before.writer.begin("a.txt")
    before.writer.more(b"some")
    before.cut()
    again = [ZipWriter(before.state, WHEN) for _ in range(2)]
    for writer in again:
        writer.more(b" more")
        writer.end()
        writer.add("b.jpg", b"photo")

    assert again[0].content == again[1].content
    assert again[0].records == again[1].records
    assert again[0].pause() == again[1].pause()


def test_a_file_beyond_four_gigabytes_is_found(tmp_path: Path) -> None:
    parts = Parts(ZipState(offset=5 * GIB))
    parts.writer.add("far.txt", b"far away")
    parts.writer.begin("long.txt")
    parts.writer.more(b"far ")
    parts.cut()
    parts.writer.more(b"too")
    parts.writer.end()
    path = tmp_path / "sparse.zip"
    with path.open("wb") as file:
        file.seek(5 * GIB)  # a hole takes no room
        file.write(parts.whole())

    with zipfile.ZipFile(path) as archive:
        assert archive.read("far.txt") == b"far away"
        assert archive.read("long.txt") == b"far too"


def test_a_file_of_over_four_gigabytes_has_its_size_told() -> None:
    running = ZipFileState("long.json", at=0, crc=1, size=9 * GIB, packed=5 * GIB)
    parts = Parts(ZipState(offset=0, running=running))
    parts.writer.end()
    parts.cut()
    directory = bytes(parts.records) + ending(ZipState(0, 1, len(parts.records)))

    [told] = zipfile.ZipFile(io.BytesIO(directory)).infolist()

    assert (told.file_size, told.compress_size) == (9 * GIB, 5 * GIB + 2)


def test_more_files_than_two_bytes_count_are_all_there() -> None:
    parts = Parts()
    for number in range(70_000):
        parts.writer.add(f"{number}", b"")

    with zipfile.ZipFile(io.BytesIO(parts.whole())) as archive:
        assert len(archive.namelist()) == 70_000
        assert archive.namelist()[-1] == "69999"


def test_without_files_it_is_an_empty_zip() -> None:
    assert zipfile.ZipFile(io.BytesIO(Parts().whole())).namelist() == []


def test_the_examples_in_the_documentation_hold() -> None:
    assert doctest.testmod(zip_parts).failed == 0
