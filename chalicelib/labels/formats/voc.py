"""Pascal VOC: an XML document an image, ``ImageSets/Main/<split>.txt`` for the splits.

Its pixels count from 1 and both edges are inside, as its development kit has it: the box of a
single pixel in the corner is ``1 1 1 1``, one over a whole image of 450 x 300 is ``1 1 450 300``.
So a box lies from ``xmin - 1`` to ``xmax`` in distances from the image's corner.

The documents come from strangers. A document type declaration is refused, and without one there
are no entities: nothing to expand a billion times, nothing to fetch. That is what defusedxml does
with ``forbid_dtd=True``; as expat can be asked directly, Lambda's package does without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from xml.etree import ElementTree
from xml.parsers import expat

from chalicelib.labels.formats.gathering import Draft, Gathering
from chalicelib.labels.formats.label_set import (
    ImageLabels,
    LabelSet,
    Writing,
    path_of,
    put,
    whole_pixels,
)
from chalicelib.labels.formats.reading import Reading, Report
from chalicelib.labels.words import SPLIT_WORDS, Split, shown
from chalicelib.vision.boxes import Detections

FOLDER = "Annotations"
SETS = "ImageSets"
SET_NAMES = {"train": "train", "valid": "val", "test": "test"}
DEPTH = 20  # of elements; VOC has five
EDGES = ("xmin", "ymin", "xmax", "ymax")


def read_voc(
    documents: Mapping[str, bytes], reading: Reading | None = None
) -> tuple[LabelSet, Report]:
    """Read VOC documents by their paths, and the lists of splits that are among them.

    >>> document = (
    ...     b"<annotation><filename>a.jpg</filename>"
    ...     b"<size><width>100</width><height>80</height><depth>3</depth></size>"
    ...     b"<object><name>scratch</name><bndbox><xmin>11</xmin><ymin>21</ymin>"
    ...     b"<xmax>30</xmax><ymax>60</ymax></bndbox></object></annotation>"
    ... )
    >>> labels, report = read_voc({"Annotations/a.xml": document})
    >>> labels.images[0].boxes.xyxy.tolist()
    [[10.0, 20.0, 30.0, 60.0]]
    """
    gathering = Gathering(reading or Reading())
    lists = {path: text for path, text in documents.items() if _is_list(path)}
    splits = _splits(gathering, lists)
    others = {path: text for path, text in documents.items() if path not in lists}
    for path, content in gathering.contents(others, (".xml",)):
        try:
            root = parse_xml(content)
        except ValueError as fault:
            gathering.fault(path, str(fault))
            continue
        if draft := _read(gathering, path, root):
            stem = path_of(draft.name).with_suffix("").as_posix()
            draft.split = splits.get(
                stem.strip(), SPLIT_WORDS.get(PurePosixPath(path).parts[0].lower())
            )
    return gathering.done()


def write_voc(labels: LabelSet, _writing: Writing | None = None) -> dict[str, bytes]:
    """Write ``Annotations/<name>.xml`` for each image, edges rounded to whole pixels.

    Raises
    ------
    InvalidLabel
        Two images differ in the suffix alone.
    """
    files: dict[str, bytes] = {}
    for image, boxes in labels.labelled():
        root = _annotation(image, whole_pixels(boxes))
        ElementTree.indent(root)
        text = ElementTree.tostring(root, encoding="unicode")
        put(files, f"{FOLDER}/{path_of(image.name).with_suffix('.xml')}", text + "\n")
    for split, pairs in labels.by_split().items():
        if split in SET_NAMES:
            stems = [f"{path_of(image.name).with_suffix('')}\n" for image, _ in pairs]
            put(files, f"{SETS}/Main/{SET_NAMES[split]}.txt", "".join(stems))
    return files


def parse_xml(content: bytes) -> ElementTree.Element:
    """Return the root of an XML document that declares no document type.

    Raises
    ------
    ValueError
        It does, is nested too deeply, or is no XML.
    """
    builder = ElementTree.TreeBuilder()
    depth = 0

    def refuse(*_: object) -> None:
        raise ValueError("declares a document type or entities: take that out")

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEPTH:
            raise ValueError(f"is nested over {DEPTH} deep")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError) as fault:
        raise ValueError(f"is not XML: {fault}") from None
    return builder.close()


def _is_list(path: str) -> bool:
    return path.lower().endswith(".txt") and SETS in PurePosixPath(path).parts


def _splits(gathering: Gathering, lists: Mapping[str, bytes]) -> dict[str, Split]:
    """Return the split of each image by its name without suffix, as the lists say."""
    found: dict[str, Split] = {}
    for path in sorted(lists):
        split = SPLIT_WORDS.get(PurePosixPath(path).stem)
        if split is None:
            gathering.note(path, "passed over: only train, val and test are read")
            continue
        if len(lists[path]) > gathering.limits.document_bytes:
            gathering.fault(path, f"over {gathering.limits.document_bytes} bytes")
            continue
        for line in lists[path].decode("utf-8", "replace").splitlines():
            if found.setdefault(line.strip(), split) != split:
                gathering.fault(path, f"{shown(line)!r} is also listed for {found[line.strip()]}")
    return found


def _read(gathering: Gathering, path: str, root: ElementTree.Element) -> Draft | None:
    if root.tag != "annotation":
        gathering.fault(path, f"is no VOC annotation, but {shown(root.tag)!r}")
        return None
    size = root.find("size")
    sides = None if size is None else (_number(size, "width"), _number(size, "height"))
    draft = gathering.image(path, root.findtext("filename"), sides)
    if draft:
        for at, element in enumerate(root.iterfind("object"), 1):
            _object(gathering, draft, f"object {at}", element)
    return draft


def _object(gathering: Gathering, draft: Draft, what: str, element: ElementTree.Element) -> None:
    box = element.find("bndbox")
    if box is None:
        draft.fault(f"{what}: has no bndbox")
        return
    try:
        name = gathering.declare(element.findtext("name"))
    except ValueError as fault:
        draft.fault(f"{what}: {fault}")
        return
    xmin, ymin, xmax, ymax = (_number(box, edge) for edge in EDGES)
    left = xmin - 1 if isinstance(xmin, float) else xmin
    top = ymin - 1 if isinstance(ymin, float) else ymin
    draft.box(what, name, (left, top, xmax, ymax))


def _number(element: ElementTree.Element, tag: str) -> float | str | None:
    """Return what an element holds as a number, as it is where it is none."""
    text = element.findtext(tag)
    try:
        return text if text is None else float(text)
    except ValueError:
        return text


def _annotation(image: ImageLabels, boxes: Detections) -> ElementTree.Element:
    width, height = image.size
    root = ElementTree.Element("annotation")
    _add(root, folder="JPEGImages", filename=image.name)
    _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
    _add(root, segmented=0)
    rows = zip(boxes.class_id.tolist(), boxes.xyxy.astype(int).tolist(), strict=True)
    for class_id, (x1, y1, x2, y2) in rows:
        element = ElementTree.SubElement(root, "object")
        _add(element, name=boxes.class_names[class_id], pose="Unspecified")
        _add(element, truncated=0, difficult=0)
        _add(ElementTree.SubElement(element, "bndbox"), xmin=x1 + 1, ymin=y1 + 1, xmax=x2, ymax=y2)
    return root


def _add(parent: ElementTree.Element, **values: object) -> None:
    for tag, value in values.items():
        ElementTree.SubElement(parent, tag).text = str(value)
