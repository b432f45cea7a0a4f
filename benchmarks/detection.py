"""Measures detection, JPEG bytes to boxes, side by side with what a user would pick instead.

    make bench                                  # all of it, some minutes
    make bench ARGS=--quick                     # fewer rounds, one thread count
    make bench ARGS="--weights best.pt"         # your own weights

The same weights run as:

    floor         onnxruntime's session.run alone, on the very tensor that we feed it
    ours          chalicelib.vision.Detector, from JPEG bytes to boxes
    ours, draft   the same with DetectionOptions(draft=True), for large JPEGs
    ultralytics   OpenCV's imdecode and its predict: with the .pt file, and with the ONNX file

All have the same number of threads. They take turns, round by round, so that what else the machine
does falls on all of them alike; a ratio is the median of the rounds' ratios. On a busy machine
--threads 1 --clock processor counts what each computes, not how long it waited for its turn.
Without --weights the network is YOLOv8n with seeded weights, its scores shifted so that suppression
has work to do.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from chalicelib.vision import DetectionOptions, Detector  # noqa: E402
from sagemaker.training.drawn_tags import draw_tag  # noqa: E402

CACHE = ROOT / ".cache/bench"
SIDE = 640
SIZES = {"810x1080": (810, 1080), "12 MP": (4000, 3000)}
BATCHES = (1, 8)
CANDIDATES = 300  # anchors above the threshold, before suppression
DRAFT_FROM = 6_000_000
PAUSE = 0.05  # seconds, until the threads of the one before have stopped spinning
OFFLINE = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}

FLOOR, OURS, DRAFT = "floor", "ours", "ours, draft"
TORCH, ONNX = "ultralytics, PyTorch", "ultralytics, ONNX"
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
Contenders = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Plan:
    """What one process measures."""

    weights: Path
    model: Path
    threads: int
    rounds: int
    clock: str


@dataclass(frozen=True)
class Row:
    """One line of the table: medians in milliseconds, and ratios of rounds."""

    image: str
    batch: int
    threads: int
    milliseconds: dict[str, float]
    over_floor: dict[str, float]
    times_faster: dict[str, float]


# ---- what is measured


def photo(size: tuple[int, int]) -> bytes:
    """Return a drawn photo of a tag, enlarged, with a camera's grain, as a JPEG."""
    tag = draw_tag(7).image
    upright = tag if size[0] > size[1] else tag.transpose(Image.Transpose.ROTATE_90)
    large = np.asarray(upright.resize(size, Image.Resampling.BICUBIC), np.float32)
    grain = np.random.default_rng(0).normal(0, 4, (size[1], size[0], 1)).astype(np.float32)
    buffer = BytesIO()
    Image.fromarray((large + grain).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def seeded_weights(path: Path) -> None:
    """Write YOLOv8n with seeded weights that give some hundred candidates on the photo."""
    import torch  # noqa: PLC0415
    from ultralytics import YOLO  # noqa: PLC0415

    torch.manual_seed(0)
    network = YOLO("yolov8n.yaml")
    image = Image.open(BytesIO(photo((480, 640))))
    blob = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    network.model.eval()
    with torch.no_grad():
        scores = network.model(blob)[0][0, 4:].amax(0)
        least = torch.logit(scores.sort(descending=True).values[CANDIDATES])
        for convolutions in network.model.model[-1].cv3:
            convolutions[-1].bias += torch.logit(torch.tensor(0.25)) - least
    network.save(path)


def export(weights: Path | None) -> tuple[Path, Path]:
    """Return a .pt file and its ONNX export, dynamic as the service's models; kept for later."""
    from ultralytics import YOLO  # noqa: PLC0415

    CACHE.mkdir(parents=True, exist_ok=True)
    path = weights or CACHE / "seeded.pt"
    if not path.exists():
        seeded_weights(path)
    model = CACHE / f"{path.stem}-{path.stat().st_mtime_ns}.onnx"
    if not model.exists():
        written = YOLO(path).export(format="onnx", dynamic=True, imgsz=SIDE, device="cpu")
        Path(written).replace(model)
    return path, model


# ---- side by side, in a process of its own for each thread count


def contenders(plan: Plan, data: bytes, batch: int, size: tuple[int, int]) -> Contenders:
    """Return what takes turns on one photo."""
    detector = Detector(plan.model, threads=plan.threads)
    blob = np.stack([detector.prepare(data, DetectionOptions()).pixels] * batch)
    images = [data] * batch
    turns: dict[str, Callable[[], object]] = {
        FLOOR: lambda: detector.forward(blob),  # nothing but session.run
        OURS: lambda: detector.detect_batch(images),
    }
    if size[0] * size[1] > DRAFT_FROM:
        options = DetectionOptions(draft=True)
        turns[DRAFT] = lambda: detector.detect_batch(images, options)
    return turns | {
        TORCH: predictor(plan.weights, images, plan.threads),
        ONNX: predictor(plan.model, images, plan.threads),
    }


def predictor(weights: Path, images: list[bytes], threads: int) -> Callable[[], object]:
    """Return ultralytics' predict from JPEG bytes, with so many threads."""
    import cv2  # noqa: PLC0415
    import onnxruntime  # noqa: PLC0415
    import torch  # noqa: PLC0415
    from ultralytics import YOLO  # noqa: PLC0415

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    network = YOLO(weights, task="detect")

    def predict() -> object:
        arrays = [cv2.imdecode(np.frombuffer(i, np.uint8), cv2.IMREAD_COLOR) for i in images]
        return network.predict(arrays, imgsz=SIDE, conf=0.25, iou=0.45, verbose=False, device="cpu")

    predict()
    if weights.suffix == ".onnx":
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        backend = network.predictor.model.backend
        backend.session = onnxruntime.InferenceSession(weights, options)
    return predict


def take_turns(turns: Contenders, rounds: int, clock: str) -> dict[str, list[float]]:
    """Return each contender's seconds, round by round; the first round warms up."""
    now = CLOCKS[clock]
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds + 1):
        for name, turn in turns.items():
            time.sleep(PAUSE)
            started = now()
            turn()
            seconds[name].append(now() - started)
    return {name: spent[1:] for name, spent in seconds.items()}


def row(image: str, batch: int, threads: int, seconds: Mapping[str, list[float]]) -> Row:
    """Summarise rounds."""

    def ratio(name: str, base: str) -> float:
        return statistics.median(
            one / other for one, other in zip(seconds[name], seconds[base], strict=True)
        )

    return Row(
        image=image,
        batch=batch,
        threads=threads,
        milliseconds={name: statistics.median(s) * 1000 for name, s in seconds.items()},
        over_floor={name: ratio(name, FLOOR) for name in (OURS, DRAFT) if name in seconds},
        times_faster={name: ratio(name, OURS) for name in (TORCH, ONNX)},
    )


def measure(plan: Plan) -> list[Row]:
    """Measure all images and batches with one thread count."""
    rows = []
    for image, size in SIZES.items():
        data = photo(size)
        for batch in BATCHES:
            rounds = plan.rounds if batch == 1 else max(3, plan.rounds // 4)
            seconds = take_turns(contenders(plan, data, batch, size), rounds, plan.clock)
            rows.append(row(image, batch, plan.threads, seconds))
    return rows


# ---- start and memory, each in a process of its own


OURS_STARTS = """
from pathlib import Path
from chalicelib.vision import Detector
found = Detector(Path(model), threads=threads)
imported = time.perf_counter()
found.detect(data)
"""
ULTRALYTICS_STARTS = """
import cv2, numpy, torch
from ultralytics import YOLO
torch.set_num_threads(threads)
network = YOLO(model, task="detect")
imported = time.perf_counter()
image = cv2.imdecode(numpy.frombuffer(data, numpy.uint8), cv2.IMREAD_COLOR)
network.predict(image, imgsz=640, verbose=False, device="cpu")
"""
PROBE = """
import resource, sys, time
started = time.perf_counter()
model, threads, data = sys.argv[1], int(sys.argv[2]), open(sys.argv[3], "rb").read()
{body}
ended = time.perf_counter()
try:  # getrusage counts what the parent had before exec
    status = open("/proc/self/status").read()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{{imported - started}} {{ended - imported}} {{peak}}")
"""


def starts(plan: Plan, image: Path, times: int) -> dict[str, list[float]]:
    """Return medians of seconds to import and load, of the first detection, and MiB at the peak."""
    programs = {
        OURS: (OURS_STARTS, plan.model),
        TORCH: (ULTRALYTICS_STARTS, plan.weights),
        ONNX: (ULTRALYTICS_STARTS, plan.model),
    }
    seen: dict[str, list[list[float]]] = {name: [] for name in programs}
    for _ in range(times):
        for name, (body, model) in programs.items():
            command = [sys.executable, "-c", PROBE.format(body=body)]
            arguments = [str(model), str(plan.threads), str(image)]
            seen[name].append([float(v) for v in output(command + arguments).split()[-3:]])
    return {name: [statistics.median(v) for v in zip(*s, strict=True)] for name, s in seen.items()}


# ---- putting it together


def output(command: list[str]) -> str:
    """Run a part of the benchmark in a fresh process and return what it printed."""
    environment = os.environ | OFFLINE | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True, cwd=CACHE
    )
    return done.stdout


def measured_apart(plan: Plan) -> list[Row]:
    """Measure in a process of its own, because thread counts stick to a process."""
    arguments = [str(value) for value in asdict(plan).values()]
    printed = output([sys.executable, str(Path(__file__).resolve()), "--part", *arguments])
    return [Row(**each) for each in json.loads(printed.splitlines()[-1])]


def print_rows(rows: list[Row]) -> None:
    """Print the table of speeds."""
    names = (FLOOR, OURS, DRAFT, TORCH, ONNX)
    ratios = (f"{OURS} / floor", f"{DRAFT} / floor", f"{TORCH} / ours", f"{ONNX} / ours")
    print(f"| image | batch | threads | {' | '.join(names)} | {' | '.join(ratios)} |")
    print(f"| --- |{' ---: |' * (2 + len(names) + len(ratios))}")
    for each in rows:
        spent = [f"{each.milliseconds[n]:.1f}" if n in each.milliseconds else "–" for n in names]
        over = [f"{each.over_floor[n]:.2f}" if n in each.over_floor else "–" for n in (OURS, DRAFT)]
        faster = [f"{each.times_faster[n]:.2f}" for n in (TORCH, ONNX)]
        cells = [each.image, str(each.batch), str(each.threads), *spent, *over, *faster]
        print(f"| {' | '.join(cells)} |", flush=True)


def print_starts(seen: Mapping[str, list[float]]) -> None:
    """Print the table of starts."""
    print("\n| 810x1080, 1 thread | import and load, s | first detection, s | peak memory, MiB |")
    print("| --- | ---: | ---: | ---: |")
    for name, (load, first, peak) in seen.items():
        print(f"| {name} | {load:.2f} | {first:.2f} | {peak:.0f} |")


def setting() -> str:
    """Return what the figures were measured on."""
    import onnxruntime  # noqa: PLC0415
    import torch  # noqa: PLC0415
    import ultralytics  # noqa: PLC0415

    versions = f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__}"
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {versions}, "
        f"ultralytics {ultralytics.__version__}"
    )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, help="a .pt file of ultralytics")
    parser.add_argument("--rounds", type=int, default=30, help="a quarter of it for batches")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--quick", action="store_true", help="7 rounds, the first thread count")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--part", nargs=5, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    given = arguments()
    os.environ.update(OFFLINE)
    if given.part:
        weights, model, threads, rounds, clock = given.part
        rows = measure(Plan(Path(weights), Path(model), int(threads), int(rounds), clock))
        print(json.dumps([asdict(each) for each in rows]))
        return
    weights, model = export(given.weights and given.weights.resolve())
    rounds, counts = (7, given.threads[:1]) if given.quick else (given.rounds, given.threads)
    plans = [Plan(weights, model, count, rounds, given.clock) for count in counts]
    print(f"{setting()}; medians of {rounds} rounds, {given.clock} milliseconds\n", flush=True)
    print_rows([each for plan in plans for each in measured_apart(plan)])
    image = CACHE / "photo.jpg"
    image.write_bytes(photo(SIZES["810x1080"]))
    print_starts(starts(plans[0], image, 3 if given.quick else 5))


if __name__ == "__main__":
    main()
