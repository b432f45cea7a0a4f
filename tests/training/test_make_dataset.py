"""From a label store's CSV to a YOLO dataset: no tag on both sides, faults named."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from chalicelib.errors import InvalidLabel
from chalicelib.labels.label_store_csv import COLUMNS
from sagemaker.training.drawn_tags import draw_tag
from sagemaker.training.make_dataset import (
    SCRATCH_GROUP_BY,
    SCRATCH_GROUP_STARTS,
    choose_validation_groups,
    group_by_pattern,
    group_by_table,
    main,
)

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("SIGHTLOOP_SHARED", ROOT.parent / "shared"))
SHOTS = [f"images/shot-{shot}-{crop}.jpg" for shot in "abcde" for crop in (1, 2)]
BY_SHOT = ["--names", "scratch", "--group-by", "shot-(.)"]


def _annotations(seed: int) -> str:
    return repr(
        [
            {"class_id": 0, "top": y1, "left": x1, "width": x2 - x1, "height": y2 - y1}
            for x1, y1, x2, y2 in draw_tag(seed).xyxy.round().astype(int).tolist()
        ]
    )


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a label store's CSV with its ten drawn photos, two of each shot, beside it."""
    (tmp_path / "store/images").mkdir(parents=True)
    path = tmp_path / "store/labels.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for seed, name in enumerate(SHOTS):
            draw_tag(seed).image.save(tmp_path / "store" / name)
            writer.writerow([name, 450, 300, 3, _annotations(seed), 1.0 + seed, "job", "APPROVED"])
    return path


def _stems(folder: Path, kind: str, side: str) -> set[str]:
    return {path.stem for path in (folder / kind / side).iterdir()}


def test_a_shot_is_never_on_both_sides(store: Path, tmp_path: Path) -> None:
    assert main([str(store), str(tmp_path / "dataset"), *BY_SHOT]) == 0

    train, valid = (
        {stem[:6] for stem in _stems(tmp_path / "dataset", "images", side)}
        for side in ("train", "valid")
    )
    assert len(train) == 4
    assert len(valid) == 1
    assert not train & valid


def test_every_image_has_its_labels_beside_it(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"

    main([str(store), str(folder), *BY_SHOT])

    for side in ("train", "valid"):
        assert _stems(folder, "images", side) == _stems(folder, "labels", side)
    [label] = folder.glob("labels/*/shot-a-1.txt")
    assert len(label.read_text().splitlines()) == len(draw_tag(0).xyxy)


def test_the_groups_to_hold_out_can_be_named(store: Path, tmp_path: Path) -> None:
    main([str(store), str(tmp_path / "d"), *BY_SHOT, "--validation-groups", "b,d"])

    assert _stems(tmp_path / "d", "images", "valid") == {
        "shot-b-1",
        "shot-b-2",
        "shot-d-1",
        "shot-d-2",
    }


def test_groups_can_come_from_a_table(store: Path, tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    rows = [f"{name},{'even' if name.endswith('2.jpg') else 'odd'}" for name in SHOTS]
    table.write_text("\n".join(["source_ref,group", *rows]), encoding="utf-8")

    grouped = ["--groups", str(table), "--validation-groups", "even"]
    main([str(store), str(tmp_path / "d"), "--names", "scratch", *grouped])

    assert {stem[-1] for stem in _stems(tmp_path / "d", "images", "valid")} == {"2"}


def test_rows_that_were_not_approved_stay_out(store: Path, tmp_path: Path) -> None:
    text = store.read_text(encoding="utf-8")
    store.write_text(text.replace("APPROVED", "REJECTED", 1), encoding="utf-8")

    main([str(store), str(tmp_path / "d"), *BY_SHOT])

    kept = _stems(tmp_path / "d", "images", "train") | _stems(tmp_path / "d", "images", "valid")
    assert len(kept) == 9
    assert "shot-a-1" not in kept


def _faults(store: Path, tmp_path: Path, extra: Sequence[str], capsys: object) -> str:
    assert main([str(store), str(tmp_path / "d"), *extra]) == 1
    return capsys.readouterr().err.strip()  # type: ignore[attr-defined]


def test_a_missing_image_is_named(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store.parent / SHOTS[3]).unlink()

    fault = _faults(store, tmp_path, BY_SHOT, capsys)

    assert fault == f"make_dataset: row 5: there is no file {store.parent / SHOTS[3]}"
    assert not (tmp_path / "d").exists()


def test_an_image_of_another_size_than_its_row_says_is_refused(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_tag(0).image.resize((225, 150)).save(store.parent / SHOTS[0])

    assert "is 225 x 150, not 450 x 300" in _faults(store, tmp_path, BY_SHOT, capsys)


def test_a_file_that_is_no_image_is_refused(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = store.parent / SHOTS[0]
    photo.write_text("no image")

    fault = _faults(store, tmp_path, BY_SHOT, capsys)

    assert fault.startswith(f"make_dataset: row 2: {photo}: the bytes are no JPEG")


def test_an_image_that_the_service_would_refuse_is_refused(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [draw_tag(seed).image for seed in (0, 1)]
    photo = (store.parent / SHOTS[0]).with_suffix(".webp")
    frames[0].save(photo, save_all=True, append_images=frames[1:])
    _rename(store, SHOTS[0], f"images/{photo.name}")

    assert "is animated: send one frame" in _faults(store, tmp_path, BY_SHOT, capsys)


def test_an_image_that_lies_on_its_side_is_measured_upright(store: Path, tmp_path: Path) -> None:
    turned = draw_tag(0).image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned.save(store.parent / SHOTS[0], exif=exif)

    assert main([str(store), str(tmp_path / "d"), *BY_SHOT]) == 0


def _rename(store: Path, source_ref: str, to: str) -> None:
    store.write_text(store.read_text(encoding="utf-8").replace(source_ref, to), encoding="utf-8")


@pytest.mark.parametrize("reference", ["../secret.jpg", "/etc/secret.jpg", "s3://bucket/a.jpg"])
def test_an_image_outside_the_folder_is_refused(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], reference: str
) -> None:
    text = store.read_text(encoding="utf-8")
    store.write_text(text.replace(SHOTS[0], reference), encoding="utf-8")

    fault = _faults(store, tmp_path, ["--names", "scratch", "--group-by", ""], capsys)

    assert f"row 2: {reference} is not a path below" in fault


def test_a_folder_that_holds_something_is_left_alone(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/precious").touch()

    assert "is not empty" in _faults(store, tmp_path, BY_SHOT, capsys)
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["precious"]


def test_a_group_that_does_not_exist_is_named(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = _faults(store, tmp_path, [*BY_SHOT, "--validation-groups", "z"], capsys)

    assert "no images in the groups ['z']" in fault


def test_one_group_alone_cannot_be_split(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = _faults(store, tmp_path, ["--names", "scratch", "--group-by", "(shot)"], capsys)

    assert "one side would be empty" in fault


def test_two_images_of_one_file_name_are_refused(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store.parent / "more").mkdir()
    draw_tag(1).image.save(store.parent / "more/shot-a-1.jpg")
    text = store.read_text(encoding="utf-8")
    store.write_text(text.replace(SHOTS[1], "more/shot-a-1.jpg"), encoding="utf-8")

    assert "share the file names ['shot-a-1']" in _faults(store, tmp_path, BY_SHOT, capsys)


def test_an_image_in_no_group_is_named() -> None:
    with pytest.raises(InvalidLabel, match=r"other\.jpg: .* finds no group"):
        group_by_pattern("shot-(.)")("other.jpg")

    with pytest.raises(InvalidLabel, match=r"other\.jpg is not in the table"):
        group_by_table("source_ref,group\na.jpg,1\n")("other.jpg")


def test_a_pattern_without_a_group_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a group in parentheses"):
        group_by_pattern("shot-.")


@pytest.mark.parametrize(
    ("time", "group"),
    [
        ("10-15-03-04", "10-15"),
        ("10-52-55-24", "10-51"),
        ("10-53-20-47", "10-53"),
        ("10-55-01-67", "10-53"),
        ("10-55-39-46", "10-55-39"),
        ("11-01-21-86", "10-55-39"),
        ("11-01-47-06", "11-01-47"),
    ],
)
def test_the_scratch_photos_fall_into_the_groups_between_changes_of_tags(
    time: str, group: str
) -> None:
    group_of = group_by_pattern(SCRATCH_GROUP_BY, SCRATCH_GROUP_STARTS.split(","))

    assert group_of(f"images/image-2020-04-22-{time}-cropped-left-top.jpg") == group


def test_the_share_is_kept_as_well_as_whole_groups_allow() -> None:
    single = {str(number): 1 for number in range(100)}

    assert len(choose_validation_groups(single, 0.2)) == 20
    assert choose_validation_groups({"big": 90, "small": 30}, 0.1) == ("small",)


def test_the_command_runs_from_any_folder(store: Path, tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "sagemaker/training/make_dataset.py", store, "d", *BY_SHOT]

    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)

    assert done.stdout.startswith("8 training and 2 validation images")
    assert "path:" not in (tmp_path / "d/data.yaml").read_text()


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no shared data at {SHARED}")
def test_the_scratch_photos_are_split_without_a_leak(tmp_path: Path) -> None:
    source = SHARED / "data/scratch/labels.csv"

    assert main([str(source), str(tmp_path / "d"), "--names", "scratch"]) == 0

    group_of = group_by_pattern(SCRATCH_GROUP_BY, SCRATCH_GROUP_STARTS.split(","))
    sides = {
        side: Counter(group_of(stem) for stem in _stems(tmp_path / "d", "images", side))
        for side in ("train", "valid")
    }
    assert sum(map(Counter.total, sides.values())) == 184
    assert not set(sides["train"]) & set(sides["valid"])
