"""Fetch a dataset version: the folder that ``train.py`` reads, made from its name alone.

    python sagemaker/training/fetch_dataset.py --model scratch --dataset SHA256 --out dataset
    python sagemaker/training/train.py --data dataset/data.yaml --out runs/scratch

The bucket is that of the settings (``SIGHTLOOP_STORE_BUCKET``, or --bucket). Every image is checked
against the version, which is checked against its name; whoever was interrupted runs it again. The
name is in ``data.yaml``, and ``train.py`` writes it into ``metrics.json``.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a file, this finds its own folder only

from chalicelib import settings
from chalicelib.labels.keys import manifest_key
from chalicelib.labels.manifest import Manifest
from chalicelib.labels.materialise import Materialised, from_store, materialise
from chalicelib.storage import ObjectStore


def fetch(store: ObjectStore, model: str, dataset: str, out: Path) -> Materialised:
    """Make a folder of a version of a model's dataset.

    Raises
    ------
    ObjectNotFound
        There is no such version, or one of its images is gone.
    InvalidManifest
        What is there is not what was named.
    """
    packed = store.get(manifest_key(model, dataset)).body
    return materialise(Manifest(io.BytesIO(packed), dataset), from_store(store, model), out)


def main() -> None:
    """Fetch what the command line names."""
    from chalicelib.aws import client  # noqa: PLC0415 - tests hand in a store

    loaded = settings.load()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--dataset", required=True, help="the version's name, a sha256")
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument("--bucket", default=loaded.store_bucket, help="of models and datasets")
    given = parser.parse_args()
    store = ObjectStore(client("s3", loaded.region, background=True), given.bucket)
    made = fetch(store, given.model, given.dataset, given.out)
    print(f"{made.data_yaml}: {made.train} images to train, {made.valid} to validate", end="")
    print(f", {made.left_out} left out that leak" if made.left_out else "")


if __name__ == "__main__":
    main()
