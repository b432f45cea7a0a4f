"""YOLO: a text file an image, one ``class cx cy w h`` a line as shares of the image.

An image and its label file have one path but for the suffix and the folder ``images`` or
``labels``; a folder of a split stands on either side of that: ``images/train/a.jpg`` and
``labels/train/a.txt``, or ``train/images/a.jpg`` and ``train/labels/a.txt``. The classes are in
``data.yaml``. An empty label file is a valid negative, none at all means unlabelled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
import yaml

from chalicelib.errors import InvalidLabel
from chalicelib.labels import safe_yaml
from chalicelib.labels.formats.gathering import Gathering
from chalicelib.labels.formats.label_set import (
    NO_SPLIT,
    ImageLabels,
    LabelSet,
    Writing,
    path_of,
    put,
)
from chalicelib.labels.formats.reading import Reading, Report, told
from chalicelib.labels.words import SPLIT_WORDS, Split, shown
from chalicelib.vision.boxes import Detections

NAMES_FILES = ("data.yaml", "data.yml")
NAMES_BYTES = 2**17
NO_LABELS = ("classes.txt", "readme")  # what other tools put beside labels
FOLDERS = ("images", "labels")
SPLIT_FOLDERS: Mapping[str, Split | None] = {**SPLIT_WORDS, NO_SPLIT: None}
KEYS = {"train": "train", "valid": "val", "test": "test", NO_SPLIT: "train"}

Key = tuple[str, str | None]  # the name without suffix, and the folder of the split


def read_yolo(
    documents: Mapping[str, bytes], reading: Reading | None = None
) -> tuple[LabelSet, Report]:
    """Read label files and ``data.yaml`` by their paths; ``reading.sizes`` names all images.

    >>> documents = {"data.yaml": b"names: [scratch]", "labels/train/a.txt": b"0 .2 .5 .2 .5"}
    >>> reading = Reading(sizes={"images/train/a.jpg": (100, 80)})
    >>> labels, report = read_yolo(documents, reading)
    >>> [image] = labels.images
    >>> image.name, image.split, image.boxes.xyxy.round(3).tolist()
    ('a.jpg', 'train', [[10.0, 20.0, 30.0, 60.0]])
    """
    reading = reading or Reading()
    gathering = Gathering(reading)
    names = _class_names(gathering, documents)
    if names is None:
        return gathering.done()
    labels = _labels(gathering, documents)
    for path in sorted(reading.sizes):
        key = _key(path)
        label = labels.pop(key if key in labels else (key[0], None), None)
        _read(gathering, path, label, names)
    for path, _ in labels.values():
        if PurePosixPath(path).name.lower().startswith(NO_LABELS):
            gathering.note(path, "passed over")
        else:
            gathering.fault(path, "there is no image to it")
    return gathering.done()


def write_yolo(labels: LabelSet, _writing: Writing | None = None) -> dict[str, bytes]:
    """Write ``data.yaml`` and ``labels/<split>/<name>.txt``; ``image_path`` says where images go.

    Raises
    ------
    InvalidLabel
        Two images differ in the suffix alone.
    """
    files: dict[str, bytes] = {}
    sets: dict[str, list[str]] = {}
    for split, pairs in labels.by_split().items():
        sets.setdefault(KEYS[split], []).append(f"images/{split}")
        for image, boxes in pairs:
            put(files, f"labels/{split}/{path_of(image.name).with_suffix('.txt')}", boxes.to_yolo())
    put(files, NAMES_FILES[0], _described(labels.class_names, sets))
    return files


def data_file(class_names: Sequence[str], splits: Iterable[Split]) -> tuple[str, str]:
    """Return name and text of the file that says what the classes are and where the images lie."""
    sets = {KEYS[split]: [f"images/{split}"] for split in splits}
    return NAMES_FILES[0], _described(class_names, sets)


def _described(class_names: Sequence[str], sets: Mapping[str, Sequence[str]]) -> str:
    described = {**sets, "nc": len(class_names), "names": list(class_names)}
    return str(yaml.safe_dump(described, allow_unicode=True, sort_keys=False))


def image_path(image: ImageLabels) -> str:
    """Return where the trainer looks for an image, beside ``data.yaml``.

    >>> image_path(ImageLabels("a.jpg", (100, 80), None, "valid"))
    'images/valid/a.jpg'
    """
    return f"images/{image.split or NO_SPLIT}/{path_of(image.name)}"


def _layout(path: str) -> tuple[str, str | None]:
    """Return the name of an image or label, and the folder of its split if it is in one."""
    *folders, file = PurePosixPath(path).parts
    at = next((at for at, folder in enumerate(folders) if folder in FOLDERS), None)
    if at is None:
        return path, None
    split = None
    if folders[at + 1 : at + 2] and folders[at + 1] in SPLIT_FOLDERS:
        split = folders.pop(at + 1)
    folders.pop(at)
    if split is None and at and folders[at - 1] in SPLIT_FOLDERS:
        split = folders.pop(at - 1)
    return PurePosixPath(*folders, file).as_posix(), split


def _key(path: str) -> Key:
    name, split = _layout(path)
    return PurePosixPath(name).with_suffix("").as_posix(), split


def _class_names(gathering: Gathering, documents: Mapping[str, bytes]) -> tuple[str, ...] | None:
    """Return the names by class id; None where they cannot be known, which is then a fault."""
    files = [path for path in sorted(documents) if PurePosixPath(path).name in NAMES_FILES]
    expected = gathering.reading.class_names
    if not files and expected is not None:
        return expected
    if len(files) != 1:
        gathering.fault("", f"one data.yaml is needed, there are {len(files)}")
        return None
    try:
        found = _names(documents[files[0]])
        return tuple(gathering.declare(name, rank) for rank, name in enumerate(found))
    except ValueError as fault:
        gathering.fault(files[0], str(fault))
        return None


def _names(content: bytes) -> list[object]:
    """Return the names that a ``data.yaml`` lists, or maps from ids."""
    if len(content) > NAMES_BYTES:
        raise ValueError(f"over {NAMES_BYTES} bytes")
    try:
        described = safe_yaml.load(content)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as fault:
        raise ValueError(f"is not YAML: {shown(str(fault))}") from None
    names = described.get("names") if isinstance(described, dict) else None
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[id_] for id_ in range(len(names))]
    if not isinstance(names, list):
        raise ValueError("has no names: a list, or a map from ids that count from 0")
    if described.get("nc", len(names)) != len(names):
        raise ValueError(f"says nc: {told(described['nc'])}, but names {len(names)}")
    if len({name for name in names if isinstance(name, str)}) != len(names):
        raise ValueError("names must be distinct texts: quote what YAML takes for something else")
    return names


def _labels(gathering: Gathering, documents: Mapping[str, bytes]) -> dict[Key, tuple[str, str]]:
    """Return path and text of each label file."""
    found: dict[Key, tuple[str, str]] = {}
    others = {path: file for path, file in documents.items() if not path.endswith(NAMES_FILES)}
    if not others:
        return found
    for path, text in gathering.texts(others, (".txt",)):
        if found.setdefault(_key(path), (path, text))[0] != path:
            gathering.fault(path, f"labels the same image as {found[_key(path)][0]}")
    return found


def _read(
    gathering: Gathering, path: str, label: tuple[str, str] | None, names: tuple[str, ...]
) -> None:
    """Read the labels of one image."""
    name, folder = _layout(path)
    draft = gathering.image(path, name, gathering.reading.sizes[path])
    if draft is None:
        return
    draft.split = SPLIT_FOLDERS.get(folder or NO_SPLIT)
    draft.is_labelled = label is not None
    for at, line in _lines(label):
        try:
            with np.errstate(invalid="ignore"):
                boxes = Detections.from_yolo(line, names, draft.size)
        except (InvalidLabel, OverflowError) as fault:
            draft.fault(f"line {at}: {str(fault).removeprefix('line 1: ')}")
            continue
        for class_id, xyxy in zip(boxes.class_id, boxes.xyxy.tolist(), strict=True):
            draft.box(f"line {at}", names[class_id], xyxy)


def _lines(label: tuple[str, str] | None) -> Iterable[tuple[int, str]]:
    return () if label is None else enumerate(label[1].splitlines(), 1)
