"""A ZIP of images and labels: what is read of a sound one, and every way to be refused."""

from __future__ import annotations

import doctest
import hashlib
import io
import json
import random
import stat
import struct
import zipfile
from collections.abc import Callable

import pytest
from PIL import Image

import chalicelib.labels.archive_classes
import chalicelib.labels.archive_directory
import chalicelib.labels.archive_layout
from chalicelib.errors import InvalidArchive
from chalicelib.labels.archive import Archive
from chalicelib.labels.archive_directory import Kind, Limits

ZipOf = Callable[..., io.BytesIO]
NAMES = ("scratch", "dent")
LABEL = "0 0.5 0.5 0.25 0.5\n"
CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"


def faults(file: io.BytesIO, limits: Limits | None = None) -> set[tuple[str, Kind]]:
    """Return which files have which faults."""
    report = Archive(file, NAMES, limits).check()
    return {(fault.name, fault.kind) for fault in report.faults}


def details(file: io.BytesIO) -> list[str]:
    return [fault.detail for fault in Archive(file, NAMES).check().faults]


def edited(
    file: io.BytesIO, name: str, at: int, form: str, value: int, header: bytes = CENTRAL
) -> io.BytesIO:
    """Overwrite a field in a header of the named entry, as an attacker would."""
    content = bytearray(file.getvalue())
    fixed = 46 if header == CENTRAL else 30
    start = content.index(header)
    while not content[start + fixed :].startswith(name.encode()):
        start = content.index(header, start + 1)
    struct.pack_into(form, content, start + at, value)
    return io.BytesIO(bytes(content))


# ---- sound archives

LAYOUTS = {
    "flat": ("a.jpg", "a.txt", None),
    "in two folders": ("images/a.jpg", "labels/a.txt", None),
    "ultralytics' export": ("valid/images/a.jpg", "valid/labels/a.txt", "valid"),
    "split below": ("images/train/a.jpg", "labels/train/a.txt", "train"),
    "below a folder": (
        "my export/data/val/images/a.jpg",
        "my export/data/val/labels/a.txt",
        "valid",
    ),
    "test": ("test/images/a.jpeg", "test/labels/a.txt", "test"),
    "capitals": ("Images/a.JPG", "Labels/a.TXT", None),
    "dots in the name": ("images/a.rf.0a1b.jpg", "labels/a.rf.0a1b.txt", None),
}


@pytest.mark.parametrize(("image", "label", "hint"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_an_image_is_given_with_its_labels(
    zip_of: ZipOf, jpeg: bytes, image: str, label: str, hint: str | None
) -> None:
    archive = Archive(zip_of({image: jpeg, label: LABEL}), NAMES)

    assert archive.check().sound
    [found] = archive.images()

    assert (found.name, found.content, found.hint) == (image, jpeg, hint)
    assert found.sha256 == hashlib.sha256(jpeg).hexdigest()
    assert found.detections.xyxy.tolist() == [[12, 6, 20, 18]]
    assert found.detections.class_names == NAMES
    assert found.detections.to_yolo() == "0 0.500000 0.500000 0.250000 0.500000\n"


def test_an_empty_label_says_that_there_is_nothing_to_see(zip_of: ZipOf, jpeg: bytes) -> None:
    [found] = Archive(zip_of({"a.jpg": jpeg, "a.txt": ""}), NAMES).images()

    assert len(found.detections) == 0


def test_what_macos_and_windows_leave_behind_is_passed_over(zip_of: ZipOf, jpeg: bytes) -> None:
    archive = Archive(
        zip_of(
            {
                "set/": b"",
                "set/a.jpg": jpeg,
                "set/a.txt": LABEL,
                "__MACOSX/set/._a.jpg": b"\0\5\x16\7",
                "set/._a.txt": b"\0",
                "set/.DS_Store": b"\0",
                "set/Thumbs.db": b"\0",
                "README.roboflow.txt": "made by hand",
            }
        ),
        NAMES,
    )

    assert archive.check().faults == ()
    assert [image.name for image in archive.images()] == ["set/a.jpg"]


def test_labels_are_turned_by_name_into_the_classes_of_the_model(
    zip_of: ZipOf, jpeg: bytes
) -> None:
    listed = "train: train/images\nnc: 2\nnames: ['dent', 'scratch']\n"
    archive = Archive(zip_of({"data.yaml": listed, "a.jpg": jpeg, "a.txt": LABEL}), NAMES)

    [found] = archive.images()

    assert found.detections.class_id.tolist() == [1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.yaml", "names:\n  0: rust\n  1: hole\n"),
        ("data.yaml", "names: [rust, hole]"),
        ("classes.txt", "rust\nhole\n\n"),
    ],
)
def test_an_archive_may_name_the_classes_of_a_new_model(
    zip_of: ZipOf, jpeg: bytes, name: str, text: str
) -> None:
    archive = Archive(zip_of({name: text, "a.jpg": jpeg, "a.txt": LABEL}))

    assert archive.check().sound
    assert archive.class_names == ("rust", "hole")


def test_slices_make_up_the_whole(zip_of: ZipOf, jpeg: bytes) -> None:
    names = [f"{n:02}" for n in range(10)]
    files = {f"{n}.jpg": jpeg for n in names} | {f"{n}.txt": LABEL for n in names}
    archive = Archive(zip_of(files), NAMES)

    parts = [image.name for start in range(0, 10, 4) for image in archive.images(start, start + 4)]

    assert len(archive) == 10
    assert parts == [image.name for image in archive.images()] == [f"{n}.jpg" for n in names]
    assert archive.check(4, 8).images == 4


def test_progress_is_told_after_each_image(zip_of: ZipOf, jpeg: bytes) -> None:
    files = {"a.jpg": jpeg, "a.txt": LABEL, "b.jpg": b"no image", "b.txt": ""}
    told: list[int] = []

    report = Archive(zip_of(files), NAMES).check(told=told.append)

    assert told == [1, 2]
    assert (report.images, report.boxes) == (1, 1)


class InPieces(io.RawIOBase):
    """A file that is fetched in ranges, as from S3."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at, self.fetched = content, 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at}.get(whence, len(self.content))
        return self.at

    def readinto(self, into: memoryview) -> int:
        piece = self.content[self.at : self.at + len(into)]
        into[: len(piece)] = piece
        self.at, self.fetched = self.at + len(piece), self.fetched + 1
        return len(piece)


def test_a_file_that_is_fetched_in_ranges_needs_few_of_them(zip_of: ZipOf, jpeg: bytes) -> None:
    files: dict[str, bytes] = {}
    for n in range(200):
        files |= {f"{n:03}.jpg": jpeg + b"%d" % n, f"{n:03}.txt": LABEL.encode()}
    pieces = InPieces(zip_of(files).getvalue())

    archive = Archive(io.BufferedReader(pieces, 1 << 16), NAMES)

    assert archive.check().images == 200
    assert pieces.fetched < 30


# ---- names that lead astray

BAD_NAMES = [
    "../a.jpg",
    "images/../../a.jpg",
    "/etc/a.jpg",
    "C:/a.jpg",
    "images//a.jpg",
    "./a.jpg",
    "images\\a.jpg",
    "a\n.jpg",
    "a\x1b[2J.jpg",
    "a\u202egpj.jpg",
    "x" * 300 + ".jpg",
    "/".join("abcdefghijkl") + ".jpg",
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_name_that_leads_astray_is_refused(zip_of: ZipOf, jpeg: bytes, name: str) -> None:
    file = zip_of({name: jpeg})

    report = Archive(file, NAMES).check()

    assert [fault.kind for fault in report.faults] == [Kind.NAME]
    assert report.faults[0].name.isprintable()
    with pytest.raises(InvalidArchive):
        next(Archive(file, NAMES).images())


def test_a_name_with_a_nul_is_refused(zip_of: ZipOf, jpeg: bytes) -> None:
    file = zip_of({"a.jpgXexe": jpeg})
    file = io.BytesIO(file.getvalue().replace(b"a.jpgXexe", b"a.jpg\0exe"))

    assert faults(file) == {("a.jpg\\x00exe", Kind.NAME)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.jpg", "A.JPG"),
        ("\u00e9.jpg", "e\u0301.jpg"),
        ("\ufb01.jpg", "fi.jpg"),
        ("a.jpg", "a.jpg/"),
    ],
    ids=ascii,
)
def test_two_names_of_one_file_are_refused(
    zip_of: ZipOf, jpeg: bytes, one: str, other: str
) -> None:
    stem = one.removesuffix(".jpg")

    assert (other, Kind.DUPLICATE) in faults(zip_of({one: jpeg, f"{stem}.txt": "", other: b""}))


def test_the_same_name_twice_is_refused(zip_of: ZipOf, jpeg: bytes) -> None:
    file = zip_of({"a.jpg": jpeg, "b.jpg": jpeg, "a.txt": "", "b.txt": ""})
    file = io.BytesIO(file.getvalue().replace(b"b.jpg", b"a.jpg"))

    assert ("a.jpg", Kind.DUPLICATE) in faults(file)


def test_two_images_for_one_label_are_refused(zip_of: ZipOf, jpeg: bytes) -> None:
    file = zip_of({"images/a.jpg": jpeg, "a.png": jpeg, "labels/a.txt": LABEL})

    assert faults(file) == {("images/a.jpg", Kind.DUPLICATE)}


# ---- entries that are not what they seem


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_a_link_or_special_file_is_refused(zip_of: ZipOf, kind: int) -> None:
    link = zipfile.ZipInfo("a.jpg")
    link.external_attr = (kind | 0o777) << 16

    assert faults(zip_of({link: "/etc/passwd"})) == {("a.jpg", Kind.LINK)}


def test_an_encrypted_entry_is_refused(zip_of: ZipOf, jpeg: bytes) -> None:
    file = edited(zip_of({"a.jpg": jpeg}), "a.jpg", 8, "<H", 1)

    assert faults(file) == {("a.jpg", Kind.ENCRYPTED)}


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_an_entry_packed_otherwise_is_refused(zip_of: ZipOf, jpeg: bytes, method: int) -> None:
    assert faults(zip_of({"a.jpg": jpeg}, method)) == {("a.jpg", Kind.METHOD)}


def test_a_bomb_that_says_so_is_refused_unread(zip_of: ZipOf) -> None:
    file = zip_of({"a.bmp": b"BM" + bytes(20_000_000), "a.txt": ""})
    assert len(file.getvalue()) < 30_000

    assert ("a.bmp", Kind.BOMB) in faults(file)


def test_a_bomb_that_lies_is_unpacked_no_further_than_it_said(zip_of: ZipOf) -> None:
    file = zip_of({"a.bmp": b"BM" + bytes(20_000_000), "a.txt": ""})
    file = edited(file, "a.bmp", 24, "<I", 1000)

    assert faults(file) == {("a.bmp", Kind.CORRUPT)}


def test_an_entry_that_declares_more_than_it_holds_is_refused(zip_of: ZipOf, jpeg: bytes) -> None:
    file = edited(zip_of({"a.jpg": jpeg, "a.txt": ""}), "a.jpg", 24, "<I", len(jpeg) + 9)

    assert faults(file) == {("a.jpg", Kind.CORRUPT)}


def test_entries_that_share_bytes_are_refused(zip_of: ZipOf) -> None:
    content = random.Random(0).randbytes(2000)
    file = zip_of(dict.fromkeys(("a.bmp", "b.bmp", "c.bmp"), content))
    file = edited(file, "c.bmp", 42, "<I", 0)  # all of its bytes are those of a.bmp
    file = edited(file, "b.bmp", 42, "<I", 500)

    found = faults(file)

    assert sum(kind == Kind.OVERLAP for _, kind in found) == 2
    with pytest.raises(InvalidArchive):
        next(Archive(file, NAMES).images())


def test_an_entry_that_reaches_into_the_directory_is_refused(zip_of: ZipOf, jpeg: bytes) -> None:
    file = edited(zip_of({"a.jpg": jpeg}), "a.jpg", 20, "<I", 1 << 20)

    assert faults(file) == {("a.jpg", Kind.OVERLAP)}


def test_a_name_that_differs_from_that_in_the_directory_is_refused(
    zip_of: ZipOf, jpeg: bytes
) -> None:
    content = zip_of({"a.jpg": jpeg, "a.txt": ""}).getvalue().replace(b"a.jpg", b"b.jpg", 1)

    assert faults(io.BytesIO(content)) == {("a.jpg", Kind.CORRUPT)}


def test_damaged_bytes_are_found_by_their_checksum(zip_of: ZipOf, jpeg: bytes) -> None:
    content = zip_of({"a.jpg": jpeg, "a.txt": LABEL}, zipfile.ZIP_STORED).getvalue()

    assert faults(io.BytesIO(content.replace(b"0 0.5", b"1 0.5", 1))) == {("a.txt", Kind.CORRUPT)}


def test_a_zip_in_a_zip_is_not_opened(zip_of: ZipOf, jpeg: bytes) -> None:
    inner = zip_of({"a.jpg": jpeg}).getvalue()

    assert faults(zip_of({"inner.zip": inner})) == {("inner.zip", Kind.TYPE)}


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip at all", bytes(5000)])
def test_what_is_no_zip_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidArchive):
        Archive(io.BytesIO(content), NAMES)


def test_a_directory_over_the_limit_is_not_read(zip_of: ZipOf) -> None:
    file = zip_of({f"{n}.txt": "" for n in range(2000)})

    with pytest.raises(InvalidArchive, match="directory is over 65536 bytes"):
        Archive(file, NAMES, Limits(directory_bytes=1 << 16))


def test_too_many_entries_are_refused(zip_of: ZipOf) -> None:
    file = zip_of({f"{n}.txt": "" for n in range(11)})

    assert faults(file, Limits(entries=10)) == {("", Kind.TOO_MANY)}


def test_too_many_bytes_in_all_are_refused(zip_of: ZipOf, jpeg: bytes) -> None:
    file = zip_of({"a.jpg": jpeg, "b.jpg": jpeg})

    assert faults(file, Limits(total_bytes=len(jpeg))) == {("", Kind.TOO_LARGE)}


def test_a_file_over_the_limit_is_refused(zip_of: ZipOf, jpeg: bytes) -> None:
    file = zip_of({"a.jpg": jpeg, "a.txt": LABEL})

    found = faults(file, Limits(image_bytes=len(jpeg) - 1))

    assert ("a.jpg", Kind.TOO_LARGE) in found


def test_a_label_over_the_limit_is_refused(zip_of: ZipOf, jpeg: bytes) -> None:
    file = zip_of({"a.jpg": jpeg, "a.txt": LABEL * 9})

    assert faults(file, Limits(label_bytes=30)) == {("a.txt", Kind.CORRUPT)}
    assert faults(file, Limits(boxes=8)) == {("a.txt", Kind.LABEL)}


# ---- images and labels


def test_images_without_labels_and_labels_without_images_are_named(
    zip_of: ZipOf, jpeg: bytes
) -> None:
    file = zip_of({"images/a.jpg": jpeg, "labels/b.txt": LABEL, "c.jpg": jpeg, "c.txt": LABEL})

    assert faults(file) == {("images/a.jpg", Kind.NO_LABEL), ("labels/b.txt", Kind.NO_IMAGE)}


def test_the_label_of_a_refused_image_is_not_called_alone(zip_of: ZipOf, jpeg: bytes) -> None:
    file = zip_of({"images/a.jpg": jpeg, "labels/a.txt": LABEL})

    assert faults(edited(file, "images/a.jpg", 8, "<H", 1)) == {("images/a.jpg", Kind.ENCRYPTED)}


@pytest.mark.parametrize("name", ["run.exe", "a.gif", "a", "notes.html", "a.jpg.php"])
def test_other_files_are_refused(zip_of: ZipOf, name: str) -> None:
    assert faults(zip_of({name: b"MZ"})) == {(name, Kind.TYPE)}


def test_an_image_that_is_none_is_named_with_the_reason(zip_of: ZipOf, jpeg: bytes) -> None:
    gif = io.BytesIO()
    Image.new("P", (4, 4)).save(gif, "GIF")
    file = zip_of(
        {
            "a.jpg": gif.getvalue(),
            "a.txt": "",
            "b.jpg": jpeg[:-200],
            "b.txt": "",
            "c.jpg": b"",
            "c.txt": "",
        }
    )

    assert faults(file) == {(f"{n}.jpg", Kind.IMAGE) for n in "abc"}


def test_an_image_of_too_many_pixels_is_refused(zip_of: ZipOf, jpeg: bytes) -> None:
    file = zip_of({"a.jpg": jpeg, "a.txt": ""})

    assert faults(file, Limits(pixels=700)) == {("a.jpg", Kind.IMAGE)}


BAD_LINES = {
    "0 0.5 0.5 0.25": Kind.LABEL,
    "0 0.5 0.5 0.25 0.5 0.9": Kind.LABEL,
    "scratch 0.5 0.5 0.25 0.5": Kind.LABEL,
    "0 0.5 0.5 nan 0.5": Kind.LABEL,
    "0 0.5 0.5 inf 0.5": Kind.LABEL,
    "0 160 120 40 40": Kind.LABEL,
    "0 0.5 0.5 0 0.5": Kind.LABEL,
    "0 0.5 0.5 -0.1 0.5": Kind.LABEL,
    "2 0.5 0.5 0.25 0.5": Kind.CLASSES,
    "-1 0.5 0.5 0.25 0.5": Kind.CLASSES,
    "99999999999999999999 0.5 0.5 0.25 0.5": Kind.LABEL,
    "9" * 400 + " 0.5 0.5 0.25 0.5": Kind.LABEL,
    "\x00\x01": Kind.LABEL,
}


@pytest.mark.parametrize(("line", "kind"), BAD_LINES.items(), ids=lambda value: ascii(value)[:20])
def test_a_malformed_line_is_named_by_its_number(
    zip_of: ZipOf, jpeg: bytes, line: str, kind: Kind
) -> None:
    file = zip_of({"a.jpg": jpeg, "a.txt": f"{LABEL}\n{line}\n{LABEL}"})

    [fault] = Archive(file, NAMES).check().faults

    assert (fault.name, fault.kind) == ("a.txt", kind)
    assert fault.detail.startswith("line 3: ")


def test_a_label_that_is_no_text_is_refused(zip_of: ZipOf, jpeg: bytes) -> None:
    assert faults(zip_of({"a.jpg": jpeg, "a.txt": jpeg})) == {("a.txt", Kind.CORRUPT)}


def test_a_class_that_the_model_has_not_is_named(zip_of: ZipOf, jpeg: bytes) -> None:
    file = zip_of({"data.yaml": "names: [rust, dent]", "a.jpg": jpeg, "a.txt": LABEL})

    assert faults(file) == {("a.txt", Kind.CLASSES)}
    assert details(file) == ["the model has no class 'rust'"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "names: 5",
        "names: []",
        "names: [a, a]",
        "names: {1: a}",
        "names: [a, {}]",
        "names: !!python/object/apply:os.system [ls]",
        "names: *x",
        "[" * 5000,
        'names: [!!int ""]',
    ],
    ids=lambda text: text[:20],
)
def test_classes_that_cannot_be_read_are_refused(zip_of: ZipOf, jpeg: bytes, text: str) -> None:
    file = zip_of({"data.yaml": text, "a.jpg": jpeg, "a.txt": LABEL})

    assert ("data.yaml", Kind.CLASSES) in faults(file)


def test_files_that_name_different_classes_are_refused(zip_of: ZipOf, jpeg: bytes) -> None:
    files = {"data.yaml": "names: [scratch, dent]", "classes.txt": "dent\nscratch\n"}

    assert faults(zip_of(files | {"a.jpg": jpeg, "a.txt": LABEL})) == {("", Kind.CLASSES)}


def test_an_archive_for_a_new_model_must_name_classes(zip_of: ZipOf, jpeg: bytes) -> None:
    report = Archive(zip_of({"a.jpg": jpeg, "a.txt": ""})).check()

    assert [(fault.name, fault.kind) for fault in report.faults] == [("", Kind.CLASSES)]


def test_one_image_with_two_different_labels_is_refused(zip_of: ZipOf, jpeg: bytes) -> None:
    files = {"a.jpg": jpeg, "a.txt": LABEL, "b.jpg": jpeg, "b.txt": LABEL, "c.jpg": jpeg}

    assert faults(zip_of(files | {"c.txt": ""})) == {("c.jpg", Kind.CONTRADICTION)}


# ---- the report


def test_all_faults_are_reported_and_nothing_is_given(zip_of: ZipOf, jpeg: bytes) -> None:
    link = zipfile.ZipInfo("link.jpg")
    link.external_attr = stat.S_IFLNK << 16
    archive = Archive(
        zip_of(
            {
                "good.jpg": jpeg,
                "good.txt": LABEL,
                "../up.jpg": jpeg,
                link: "good.jpg",
                "alone.jpg": jpeg,
                "run.exe": b"MZ",
                "bad.jpg": b"no image",
                "bad.txt": "7 7\n0 0.5 0.5 0.1 0.1\n9 0.5 0.5 0.1 0.1",
            }
        ),
        NAMES,
    )

    report = archive.check()

    assert {(fault.name, fault.kind) for fault in report.faults} == {
        ("../up.jpg", Kind.NAME),
        ("link.jpg", Kind.LINK),
        ("alone.jpg", Kind.NO_LABEL),
        ("run.exe", Kind.TYPE),
        ("bad.jpg", Kind.IMAGE),
        ("bad.txt", Kind.LABEL),
        ("bad.txt", Kind.CLASSES),
    }
    assert json.loads(json.dumps(report.to_json()))["images"] == 1
    with pytest.raises(InvalidArchive, match="4 faults, the first"):
        next(archive.images())


def test_only_so_many_faults_are_listed_and_the_rest_is_counted(zip_of: ZipOf, jpeg: bytes) -> None:
    alone = {f"{n}.jpg": jpeg for n in range(30)}
    wrong = {f"w{n}.{kind}": b"x" for n in range(20) for kind in ("jpg", "txt")}

    report = Archive(zip_of(alone | wrong), NAMES, Limits(faults=40)).check()

    assert len(report.faults) == 40
    assert report.unlisted == 30 + 2 * 20 - 40


def test_a_fault_that_check_would_have_found_stops_the_images(zip_of: ZipOf, jpeg: bytes) -> None:
    file = zip_of({"a.jpg": jpeg, "a.txt": LABEL, "b.jpg": jpeg, "b.txt": "x"})
    images = Archive(file, NAMES).images()

    assert next(images).name == "a.jpg"
    with pytest.raises(InvalidArchive, match=r"b\.txt: line 1"):
        next(images)


def test_whatever_byte_is_wrong_there_is_a_report_or_a_refusal(zip_of: ZipOf, jpeg: bytes) -> None:
    content = zip_of(
        {"data.yaml": "names: [scratch, dent]", "images/a.jpg": jpeg, "labels/a.txt": LABEL}
    ).getvalue()
    rng = random.Random(4)
    refused = 0
    for _ in range(1500):
        damaged = bytearray(
            content[: rng.choice([len(content)] * 9 + [rng.randrange(len(content))])]
        )
        for _ in range(rng.choice([1, 1, 1, 3, 20])):
            damaged[rng.randrange(len(damaged))] = rng.choice([0, 1, 255, rng.randrange(256)])
        try:
            archive = Archive(io.BytesIO(bytes(damaged)), NAMES)
        except InvalidArchive:
            refused += 1
            continue
        if archive.check().sound:
            assert len(list(archive.images())) == len(archive)
    assert refused > 100


@pytest.mark.parametrize(
    "module",
    [
        chalicelib.labels.archive_classes,
        chalicelib.labels.archive_directory,
        chalicelib.labels.archive_layout,
    ],
)
def test_the_examples_in_the_documentation_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0
