"""The folder ``sagemaker/`` must not stand in the way of the SDK that bears the same name."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
# Modules and packages of the SDK, which extends its own path over our folder.
NAMES_OF_THE_SDK = {
    "ai_registry",
    "core",
    "estimator",
    "lineage",
    "mlops",
    "model",
    "serve",
    "train",
}


def test_no_package_marker_shadows_the_sdk() -> None:
    assert not list((ROOT / "sagemaker").rglob("__init__.py"))


def test_no_module_takes_a_name_of_the_sdk() -> None:
    ours = {path.stem for path in (ROOT / "sagemaker").iterdir()}

    assert "training" in ours
    assert not ours & NAMES_OF_THE_SDK
