"""Make a YOLO dataset folder out of a label store's CSV and its images, with a leak-proof split.

The scratch photos, whose groups of tags are the default::

    python sagemaker/training/make_dataset.py photos/labels.csv datasets/scratch --names scratch

Photos of the same part, shot after shot, must not sit in both training and validation: that
measures memory, not skill. So whole groups of images go to one side. A group is what
``--group-by``, a regular expression with one group in parentheses, finds in an image's
``source_ref``; with ``--group-starts`` what it finds is sorted into ranges that begin at the given
texts (as times do); ``--groups`` reads a CSV of ``source_ref,group`` instead; ``--group-by ''``
takes every image for itself. Which groups validate is drawn by their names' hashes, up to
``--validation-share`` of the images, unless ``--validation-groups`` names them.

Written are ``images/{train,valid}``, ``labels/{train,valid}`` and ``data.yaml``; that file names no
absolute path, so the folder can be moved (to ``/opt/ml/input/data/training``, say).
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import re
import shutil
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

if not __package__:  # run as a script: the folder of chalicelib is not on the path then
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from chalicelib.errors import InvalidImage, InvalidLabel, SightloopError
from chalicelib.labels.label_store_csv import LabelledImage, newest, read_label_store_csv
from chalicelib.vision import image_size

# The shots of the scratch photos carry their time; the tags were changed before each of these.
SCRATCH_GROUP_BY = r"(\d\d-\d\d-\d\d-\d\d)-cropped"
SCRATCH_GROUP_STARTS = "10-15,10-51,10-53,10-55-39,11-01-47"
VALIDATION_SHARE = 0.2

GroupOf = Callable[[str], str]


@dataclass(frozen=True)
class Split:
    """Which images train and which validate."""

    train: tuple[LabelledImage, ...]
    valid: tuple[LabelledImage, ...]
    validation_groups: tuple[str, ...]


def group_by_pattern(pattern: str, starts: Sequence[str] = ()) -> GroupOf:
    """Group images by what a pattern finds in their names.

    Parameters
    ----------
    pattern : str
        A regular expression; what its first group matches is the image's key.
    starts : sequence of str, optional
        Keys are sorted into ranges that begin at these; the range's begin is the group. Where not
        given the key is the group.
    """
    compiled = re.compile(pattern)
    if compiled.groups < 1:
        raise ValueError(f"the pattern {pattern!r} needs a group in parentheses")
    ordered = sorted(starts)

    def group_of(source_ref: str) -> str:
        found = compiled.search(source_ref)
        if not found:
            raise InvalidLabel(f"{source_ref}: {pattern!r} finds no group in its name")
        if not ordered:
            return str(found[1])
        at = bisect_right(ordered, found[1])
        if at == 0:
            raise InvalidLabel(f"{source_ref}: {found[1]} lies before the first group {ordered[0]}")
        return ordered[at - 1]

    return group_of


def group_by_table(text: str) -> GroupOf:
    """Group images by a CSV with the columns ``source_ref`` and ``group``."""
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or not {"source_ref", "group"} <= set(rows[0]):
        raise InvalidLabel("the table of groups needs the columns source_ref and group, and rows")
    groups = {row["source_ref"]: row["group"] for row in rows}

    def group_of(source_ref: str) -> str:
        if source_ref not in groups:
            raise InvalidLabel(f"{source_ref} is not in the table of groups")
        return groups[source_ref]

    return group_of


def split_by_group(
    images: Sequence[LabelledImage],
    group_of: GroupOf,
    validation_groups: Sequence[str] = (),
    share: float = VALIDATION_SHARE,
) -> Split:
    """Send whole groups to one side or the other.

    Raises
    ------
    InvalidLabel
        A group named for validation does not exist, or one side would stay empty.
    """
    group = {image.source_ref: group_of(image.source_ref) for image in images}
    sizes = Counter(group.values())
    unknown = sorted(set(validation_groups) - set(sizes))
    if unknown:
        raise InvalidLabel(f"no images in the groups {unknown}; there are {sorted(sizes)}")
    chosen = tuple(validation_groups) or choose_validation_groups(sizes, share)
    valid = tuple(image for image in images if group[image.source_ref] in chosen)
    train = tuple(image for image in images if group[image.source_ref] not in chosen)
    if not train or not valid:
        raise InvalidLabel(f"the groups {sorted(sizes)} cannot be split: one side would be empty")
    return Split(train, valid, tuple(sorted(chosen)))


def choose_validation_groups(sizes: Mapping[str, int], share: float) -> tuple[str, ...]:
    """Draw groups by the hash of their name until about ``share`` of the images are taken.

    A group that would go over the share is passed over; where each would, the smallest is taken.
    """
    target = share * sum(sizes.values())
    taken, chosen = 0, []
    for name in sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if taken + sizes[name] <= target:
            chosen.append(name)
            taken += sizes[name]
    return tuple(chosen) or tuple(sorted(sizes, key=lambda name: (sizes[name], name))[:1])


def write_dataset(split: Split, images: Path, folder: Path, names: Sequence[str]) -> Path:
    """Write a YOLO dataset folder and return the path of its ``data.yaml``.

    Parameters
    ----------
    images : Path
        The folder that ``source_ref`` is relative to.
    folder : Path
        Where to write: new, or empty.
    names : sequence of str
        Of the classes, by class id.

    Raises
    ------
    InvalidLabel
        An image is missing, cannot be used or is not of the size that its row says.
    FileExistsError
        The folder holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: give a new folder")
    sources = {image.source_ref: _source(image, images) for image in split.train + split.valid}
    _refuse_equal_names(sources.values())
    for side, labelled in (("train", split.train), ("valid", split.valid)):
        for kind in ("images", "labels"):
            (folder / kind / side).mkdir(parents=True)
        for image in labelled:
            source = sources[image.source_ref]
            shutil.copyfile(source, folder / "images" / side / source.name)
            label = folder / "labels" / side / f"{source.stem}.txt"
            label.write_text(image.to_yolo(), encoding="utf-8")
    return _describe(folder, names)


def _source(image: LabelledImage, images: Path) -> Path:
    """Return the file of a labelled image, after a look at its header, as the service has one."""
    relative = PurePosixPath(image.source_ref)
    if relative.is_absolute() or ".." in relative.parts or "://" in image.source_ref:
        raise InvalidLabel(f"row {image.row}: {image.source_ref} is not a path below {images}")
    path = images / relative
    try:
        width, height = image_size(path.read_bytes())
    except FileNotFoundError:
        raise InvalidLabel(f"row {image.row}: there is no file {path}") from None
    except InvalidImage as fault:
        raise InvalidLabel(f"row {image.row}: {path}: {fault.detail}") from fault
    if (width, height) != (image.width, image.height):
        raise InvalidLabel(
            f"row {image.row}: {path} is {width} x {height}, not {image.width} x {image.height}"
        )
    return path


def _refuse_equal_names(sources: Iterable[Path]) -> None:
    twice = [stem for stem, count in Counter(path.stem for path in sources).items() if count > 1]
    if twice:
        raise InvalidLabel(f"several images share the file names {sorted(twice)[:5]}: rename them")


def _describe(folder: Path, names: Sequence[str]) -> Path:
    described = folder / "data.yaml"
    classes = "".join(f"  {class_id}: {json.dumps(name)}\n" for class_id, name in enumerate(names))
    text = f"train: images/train\nval: images/valid\nnames:\n{classes}"
    described.write_text(text, encoding="utf-8")
    return described


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("labels", type=Path, help="CSV of a label store")
    parser.add_argument("folder", type=Path, help="where to write the dataset: new, or empty")
    parser.add_argument("--names", required=True, help="of the classes, by class id: a,b,c")
    parser.add_argument("--images", type=Path, help="folder of the images; default: the CSV's")
    parser.add_argument("--status", default="APPROVED", help="rows to take; '' for all")
    parser.add_argument("--group-by", default=SCRATCH_GROUP_BY, help="pattern; '' for none")
    parser.add_argument("--group-starts", default=None, help="first keys of ranges: a,b,c")
    parser.add_argument("--groups", type=Path, help="CSV of source_ref,group")
    parser.add_argument("--validation-groups", default="", help="to hold out: a,b,c")
    parser.add_argument("--validation-share", type=float, default=VALIDATION_SHARE)
    return parser.parse_args(argv)


def _grouping(given: argparse.Namespace) -> GroupOf:
    if given.groups:
        return group_by_table(given.groups.read_text(encoding="utf-8"))
    if not given.group_by:
        return str
    starts = given.group_starts
    if starts is None:
        starts = SCRATCH_GROUP_STARTS if given.group_by == SCRATCH_GROUP_BY else ""
    return group_by_pattern(given.group_by, _listed(starts))


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def make_dataset(given: argparse.Namespace) -> Split:
    """Read, split and write as the command line says."""
    names = _listed(given.names)
    rows = read_label_store_csv(given.labels.read_text(encoding="utf-8"), len(names))
    images = [image for image in newest(rows) if given.status in ("", image.status)]
    split = split_by_group(
        images, _grouping(given), _listed(given.validation_groups), given.validation_share
    )
    write_dataset(split, given.images or given.labels.parent, given.folder, names)
    return split


def main(argv: Sequence[str] | None = None) -> int:
    """Make a dataset; say what was made, or in one line why not."""
    given = _arguments(sys.argv[1:] if argv is None else argv)
    try:
        split = make_dataset(given)
    except (SightloopError, OSError, ValueError) as fault:
        print(f"make_dataset: {fault}", file=sys.stderr)
        return 1
    held_out = ", ".join(split.validation_groups[:8])
    print(f"{len(split.train)} training and {len(split.valid)} validation images ({held_out})")
    print(given.folder / "data.yaml")
    return 0


if __name__ == "__main__":
    sys.exit(main())
