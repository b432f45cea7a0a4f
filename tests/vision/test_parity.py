"""Boxes equal those of ultralytics' own ``predict`` on the same ONNX file and image.

The networks are built from ultralytics' descriptions with seeded weights; their class scores are
then stretched so that tens of boxes are above the threshold. Exported files are kept in
``.cache/parity``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from inspect import getsource
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chalicelib.vision import DetectionOptions, Detections, Detector, iou_matrix
from chalicelib.vision.model import ModelFacts
from sagemaker.training.drawn_tags import draw_tag

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("ignore"),  # of torch's exporter and ultralytics, about each other
]

ROOT = Path(__file__).parents[2]
BUNDLED = ROOT / "models/scratch/model.onnx"
CACHE = ROOT / ".cache/parity"
SIDE = 320
NAMES = ("scratch", "dent", "stain")
LEAST_IOU, MOST_DIFFERENCE = 0.99, 0.005
# With nms=False ultralytics exports the head that needs no suppression, where the family has one;
# with nms=True it puts the suppression into the graph; left out, suppression is the caller's.
FAMILIES: dict[str, dict[str, bool]] = {
    "yolov5n": {},
    "yolov8n": {},
    "yolo11n": {},
    "yolov10n": {"nms": False},
    "yolo26n": {"nms": False},
}
OTHER_EXPORTS = {"yolo26n": {}, "yolov8n": {"nms": True}}
OPTIONS = DetectionOptions()

os.environ |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
torch = pytest.importorskip("torch")
ultralytics = pytest.importorskip("ultralytics")
import cv2  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import torchvision  # noqa: E402
from onnxruntime.transformers import float16  # noqa: E402
from ultralytics.data.augment import LetterBox  # noqa: E402
from ultralytics.utils import ops  # noqa: E402


def sha(*parts: object) -> str:
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:12]


def with_exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def file_of(image: Image.Image, kind: str, **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def drawn(seed: int) -> Image.Image:
    """A drawn photo of a tag, 450x300."""
    return draw_tag(seed).image


def grained(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Enlarge and add grain, as a camera would."""
    large = np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.float32)
    grain = np.random.default_rng(0).normal(0, 6, (size[1], size[0], 1))
    return Image.fromarray((large + grain).clip(0, 255).astype(np.uint8))


def rgba(image: Image.Image) -> Image.Image:
    clear = image.copy()
    clear.putalpha(Image.linear_gradient("L").resize(image.size))
    return clear


def deep_grey(image: Image.Image) -> Image.Image:
    grey = np.asarray(image.convert("L")).astype(np.uint16)
    return Image.fromarray(grey * 257 - grey // 3)


PICTURES: dict[str, Callable[[], bytes]] = {
    "tag.jpg": lambda: file_of(drawn(1), "JPEG", quality=92),
    "portrait.jpg": lambda: file_of(drawn(2).transpose(Image.Transpose.ROTATE_90), "JPEG"),
    "odd.jpg": lambda: file_of(drawn(3).resize((333, 217)), "JPEG"),
    "tiny.png": lambda: file_of(drawn(4).resize((41, 30)), "PNG"),
    "exact.png": lambda: file_of(drawn(5).resize((SIDE, SIDE)), "PNG"),
    "strip.png": lambda: file_of(drawn(6).resize((900, 70)), "PNG"),
    "tower.png": lambda: file_of(drawn(7).resize((64, 777)), "PNG"),
    "rotated.jpg": lambda: file_of(drawn(8), "JPEG", exif=with_exif(6)),
    "mirrored.jpg": lambda: file_of(drawn(9), "JPEG", exif=with_exif(7)),
    "upside-down.jpg": lambda: file_of(drawn(10), "JPEG", exif=with_exif(3)),
    "progressive.jpg": lambda: file_of(drawn(11), "JPEG", progressive=True, subsampling=0),
    "grey.jpg": lambda: file_of(drawn(12).convert("L"), "JPEG"),
    "alpha.png": lambda: file_of(rgba(drawn(13)), "PNG"),
    "palette.png": lambda: file_of(drawn(14).quantize(64), "PNG"),
    "grey.png": lambda: file_of(drawn(15).convert("L"), "PNG"),
    "deep.png": lambda: file_of(deep_grey(drawn(16)), "PNG"),
    "tag.webp": lambda: file_of(drawn(17), "WEBP", quality=90),
    "tag.bmp": lambda: file_of(drawn(18), "BMP"),
    "camera.jpg": lambda: file_of(grained(drawn(19), (810, 1080)), "JPEG", quality=90),
    "twelve-megapixels.jpg": lambda: file_of(grained(drawn(20), (4000, 3000)), "JPEG", quality=90),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pictures")
    for name, make in PICTURES.items():
        (folder / name).write_bytes(make())
    return {name: folder / name for name in PICTURES}


# ---- models


def stretched(family: str):
    """Return a network with seeded weights whose class scores spread over 0..1."""
    torch.manual_seed(sum(map(ord, family)))
    network = ultralytics.YOLO(f"{family}.yaml")
    network.model = type(network.model)(network.model.yaml | {"nc": len(NAMES)}, verbose=False)
    network.model.names = dict(enumerate(NAMES))
    network.model.args = network.overrides
    network.model.eval()
    head = network.model.model[-1]
    layers = [
        convolutions[-1]
        for branch in ("cv3", "one2one_cv3")
        for convolutions in getattr(head, branch, None) or []
    ]
    batch = as_batch(30, 31, 32, 33)
    settle(network.model, batch)
    hooks = [layer.register_forward_hook(stretch) for layer in layers]
    with torch.no_grad():
        network.model(batch)
    for hook in hooks:
        hook.remove()
    return network


def as_batch(*seeds: int):
    """Return drawn photos as float32 [batch, 3, SIDE, SIDE] in 0..1."""
    photos = [np.asarray(drawn(seed).resize((SIDE, SIDE)), np.float32) / 255 for seed in seeds]
    return torch.from_numpy(np.stack(photos).transpose(0, 3, 1, 2).copy())


def settle(model, batch) -> None:
    """Let the batch norms learn these pictures' statistics: signals neither fade nor burst."""
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
    model.train()
    with torch.no_grad():
        model(batch)
    model.eval()


def stretch(layer, _inputs, output) -> None:
    """Scale and shift each class so that its scores spread widely and 2 % are above 0.5."""
    with torch.no_grad():
        for channel in range(output.shape[1]):
            values = output[:, channel]
            factor = 1.5 / values.std()
            top = torch.quantile(values.flatten(), 0.98)
            layer.weight[channel] *= factor
            layer.bias[channel] = (layer.bias[channel] - top) * factor


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Export a family to ONNX, once for each version of what it is made of."""

    def export(family: str, *, dynamic: bool, half: bool, **options: bool) -> Path:
        made_of = (
            ultralytics.__version__,
            torch.__version__,
            *map(getsource, (stretched, settle, stretch)),
        )
        options |= {"dynamic": dynamic, "half": half}
        name = f"{family}-{sha(*made_of, *sorted(options.items()))}.onnx"
        kept = CACHE / name
        if not kept.exists():
            weights = tmp_path_factory.mktemp(family) / "weights.pt"
            stretched(family).save(weights)
            written = ultralytics.YOLO(weights).export(
                format="onnx", imgsz=SIDE, device="cpu", **options
            )
            CACHE.mkdir(parents=True, exist_ok=True)
            Path(written).replace(kept)
        return kept

    return export


# ---- comparing


def theirs(
    model: Path, picture: Path, side: int, options: DetectionOptions = OPTIONS, rect: bool = True
):
    """Return what ultralytics' ``predict`` finds: xyxy, confidence, class ids."""
    (result,) = ultralytics.YOLO(model, task="detect").predict(
        picture,
        imgsz=side,
        conf=options.confidence,
        iou=options.iou,
        max_det=options.max_detections,
        rect=rect,
        device="cpu",
        verbose=False,
    )
    boxes = result.boxes
    return boxes.xyxy.numpy(), boxes.conf.numpy(), boxes.cls.numpy().astype(int)


def assert_equal(found: Detections, xyxy, confidence, class_id) -> None:
    """Each box of either side has its one partner on the other."""
    assert len(found) == len(xyxy)
    overlap = iou_matrix(found.xyxy, xyxy)
    # A box that lay wholly in the padding has no area left, and so no overlap even with itself.
    overlap[np.abs(found.xyxy[:, None] - xyxy[None, :]).max(axis=2, initial=0) < 0.001] = 1
    apart = np.abs(found.confidence[:, None] - confidence[None, :])
    apart[(overlap < LEAST_IOU) | (found.class_id[:, None] != class_id[None, :])] = np.inf
    for index in range(len(found)):
        partner = apart[index].argmin()
        assert apart[index, partner] <= MOST_DIFFERENCE, f"no partner for box {index}"
        apart[:, partner] = np.inf


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("family", FAMILIES)
def test_boxes_equal_ultralytics(family, dynamic, half, exported, pictures) -> None:
    model = exported(family, dynamic=dynamic, half=half, **FAMILIES[family])
    detector = Detector(model)
    assert detector.facts.dynamic == dynamic
    assert detector.facts.end_to_end == (FAMILIES[family] == {"nms": False})
    assert detector.class_names == NAMES
    compare_all(detector, model, feasible(pictures, detector.facts))


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("family", OTHER_EXPORTS)
def test_boxes_equal_ultralytics_in_other_exports(family, dynamic, exported, pictures) -> None:
    model = exported(family, dynamic=dynamic, half=False, **OTHER_EXPORTS[family])

    compare_all(Detector(model), model, pictures)


def feasible(pictures: dict[str, Path], facts: ModelFacts) -> dict[str, Path]:
    """Leave out what ultralytics cannot run: inputs with fewer cells than the network picks."""
    narrow = {"strip.png", "tower.png"} if facts.end_to_end and facts.dynamic else set()
    return {name: picture for name, picture in pictures.items() if name not in narrow}


@pytest.mark.parametrize("name", ["strip.png", "tower.png"])
def test_a_narrow_picture_is_padded_for_a_network_that_needs_more_cells(
    name, exported, pictures
) -> None:
    model, picture = exported("yolov10n", dynamic=True, half=False, nms=False), pictures[name]

    found = Detector(model).detect(picture.read_bytes()).detections

    assert_equal(found, *theirs(model, picture, SIDE, rect=False))


def compare_all(detector: Detector, model: Path, pictures: dict[str, Path]) -> None:
    counts = []
    for name, picture in pictures.items():
        found = detector.detect(picture.read_bytes()).detections
        counts.append(len(found))
        try:
            assert_equal(found, *theirs(model, picture, SIDE))
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error

    assert np.median(counts) >= 10, f"too few boxes to tell: {counts}"


@pytest.mark.parametrize(
    "options",
    [
        DetectionOptions(confidence=0.05),
        DetectionOptions(confidence=0.6),
        DetectionOptions(iou=0.1),
        DetectionOptions(iou=0.8),
        DetectionOptions(max_detections=5),
    ],
    ids=["loose", "strict", "apart", "crowded", "few"],
)
@pytest.mark.parametrize("family", ["yolov8n", "yolov10n"])
def test_options_mean_the_same(family, options, exported, pictures) -> None:
    model = exported(family, dynamic=True, half=False, **FAMILIES[family])
    picture = pictures["odd.jpg"]

    found = Detector(model).detect(picture.read_bytes(), options).detections

    assert_equal(found, *theirs(model, picture, SIDE, options))


def test_a_batch_equals_ultralytics_one_by_one(exported, pictures) -> None:
    model = exported("yolo11n", dynamic=True, half=False)
    chosen = [pictures[name] for name in ("tag.jpg", "rotated.jpg", "grey.png", "alpha.png")]

    together = Detector(model).detect_batch([picture.read_bytes() for picture in chosen])

    for each, picture in zip(together, chosen, strict=True):
        assert_equal(each.detections, *theirs(model, picture, SIDE))


@pytest.mark.parametrize("family", ["yolov8n", "yolo26n"])
def test_a_network_that_takes_half_precision_gets_what_ultralytics_feeds(
    family, exported, pictures, tmp_path
) -> None:
    whole = onnx.load(exported(family, dynamic=True, half=False, **FAMILIES[family]))
    model = tmp_path / "half.onnx"  # as an export on a GPU gives it: float16 from end to end
    onnx.save(float16.convert_float_to_float16(whole, keep_io_types=False), model)
    detector = Detector(model)
    assert detector.facts.half

    for name in ("tag.jpg", "rotated.jpg", "deep.png", "camera.jpg"):
        found = detector.detect(pictures[name].read_bytes()).detections
        assert len(found) >= 10
        assert_equal(found, *theirs(model, pictures[name], SIDE))


def test_the_bundled_model_finds_what_ultralytics_finds(pictures) -> None:
    detector = Detector(BUNDLED)
    counts = []
    for picture in pictures.values():
        found = detector.detect(picture.read_bytes()).detections
        counts.append(len(found))
        assert_equal(found, *theirs(BUNDLED, picture, max(detector.facts.shape)))

    assert sum(counts) >= 5, f"too few boxes to tell: {counts}"


# ---- YOLOv5's original head, which ultralytics no longer reads


class AnchorBased(torch.nn.Module):
    """A few convolutions and YOLOv5's anchor-based head: [batch, N, 5 + nc]."""

    ANCHORS = (
        ((10, 13), (16, 30), (33, 23)),
        ((30, 61), (62, 45), (59, 119)),
        ((116, 90), (156, 198), (373, 326)),
    )

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.columns = 5 + classes
        widths = (8, 16, 24, 32, 48)
        self.stages = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Conv2d(before, after, 3, 2, 1), torch.nn.SiLU())
            for before, after in zip((3, *widths), widths, strict=False)
        )
        self.heads = torch.nn.ModuleList(
            torch.nn.Conv2d(width, 3 * self.columns, 1) for width in widths[2:]
        )

    def forward(self, x):
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        grids = zip(features[2:], self.heads, self.ANCHORS, (8, 16, 32), strict=True)
        return torch.cat([self.decode(head(f), a, s) for f, head, a, s in grids], 1)

    def decode(self, raw, anchors, stride):
        batch, _, rows, columns = raw.shape
        raw = raw.view(batch, 3, self.columns, rows, columns).permute(0, 1, 3, 4, 2).sigmoid()
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        cell = torch.stack((x, y), 2).to(raw.dtype)
        centre = (raw[..., 0:2] * 2 + cell - 0.5) * stride
        size = (raw[..., 2:4] * 2) ** 2 * torch.tensor(anchors, dtype=raw.dtype)[:, None, None]
        decoded = torch.cat((centre, size, raw[..., 4:]), 4)
        return decoded.reshape(batch, -1, self.columns)


def anchor_based_model(classes: int, path: Path) -> Path:
    """Export the head above with ultralytics' metadata."""
    torch.manual_seed(classes)
    network = AnchorBased(classes).eval()
    photo = as_batch(40)
    hooks = [head.register_forward_hook(stretch) for head in network.heads]
    with torch.no_grad():
        network(photo)
    for hook in hooks:
        hook.remove()
    with torch.no_grad():  # stretched for scores; objectness and sizes want to lie higher
        for head in network.heads:
            head.bias.view(3, -1)[:, :5] += 1.5
    torch.onnx.export(
        network,
        photo,
        path,
        dynamo=False,
        input_names=["images"],
        output_names=["output0"],
        dynamic_axes={"images": {0: "batch", 2: "height", 3: "width"}, "output0": {0: "batch"}},
    )
    model = onnx.load(path)
    names = dict(enumerate(NAMES[:classes]))
    facts = {"names": names, "stride": 32, "imgsz": [SIDE, SIDE], "task": "detect"}
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=str(value))
    onnx.save(model, path)
    return path


def reference(model: Path, picture: Path):
    """Detect as YOLOv5 did, with its own steps in torch: xyxy, confidence, class ids."""
    original = cv2.imread(str(picture))
    boxed = LetterBox((SIDE, SIDE), auto=True, stride=32)(image=original)
    blob = torch.from_numpy(boxed[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    (output,) = onnxruntime.InferenceSession(model).run(None, {"images": blob.numpy()})
    rows = torch.from_numpy(output[0])
    rows = rows[rows[:, 4] > OPTIONS.confidence]
    rows[:, 5:] *= rows[:, 4:5]
    corners = ops.xywh2xyxy(rows[:, :4])
    confidence, class_id = rows[:, 5:].max(1)
    keep = confidence > OPTIONS.confidence
    corners, confidence, class_id = corners[keep], confidence[keep], class_id[keep]
    kept = torchvision.ops.nms(corners + class_id[:, None] * 7680, confidence, OPTIONS.iou)
    kept = kept[: OPTIONS.max_detections]
    xyxy = ops.scale_boxes(boxed.shape[:2], corners[kept], original.shape)
    return xyxy.numpy(), confidence[kept].numpy(), class_id[kept].numpy()


@pytest.mark.parametrize("classes", [1, 3])
def test_the_original_yolov5_head_is_read_as_yolov5_read_it(classes, pictures, tmp_path) -> None:
    model = anchor_based_model(classes, tmp_path / "anchors.onnx")
    detector = Detector(model)
    counts = []
    for picture in pictures.values():
        found = detector.detect(picture.read_bytes()).detections
        counts.append(len(found))
        assert_equal(found, *reference(model, picture))

    assert np.median(counts) >= 10, f"too few boxes to tell: {counts}"
