"""The rules of docs/architecture.md that a machine can hold: who may import whom, and how long."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEAVES = {
    "aws",
    "bounded",
    "callers",
    "database",
    "errors",
    "idempotency",
    "observability",
    "queues",
    "quotas",
    "refusals",
    "secrets",
    "settings",
    "storage",
}
JUDGING = (
    "__init__",
    "boxes",
    "changes",
    "grading",
    "pairing",
    "policy",
    "score",
    "signal",
    "standing",
    "verdict",
)  # of chalicelib.trust
BLUEPRINTS = {"routes", "triggers", "api", "identity"}
PARTS_OF_THE_ROOT = {"parts"}  # what wiring.py leaves to a capability
TRAINING_ONLY = {"torch", "torchvision", "ultralytics", "sagemaker"}
SHIPPED = sorted(ROOT.glob("chalicelib/**/*.py"))
SOURCES = sorted(
    path
    for folder in ("chalicelib", "deploy", "local", "benchmarks", "sagemaker")
    for path in ROOT.glob(f"{folder}/**/*.py")
) + sorted(ROOT.glob("*.py"))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _imports(path: Path) -> set[str]:
    """Return the dotted names of all modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def _ours(path: Path) -> set[str]:
    """Return the parts of chalicelib that a file imports, such as ``storage`` or ``catalog``."""
    return {name.split(".")[1] for name in _imports(path) if name.startswith("chalicelib.")}


@pytest.mark.parametrize("path", SHIPPED, ids=_name)
def test_what_ships_imports_nothing_that_stays_home(path: Path) -> None:
    tops = {name.split(".")[0] for name in _imports(path)}

    assert not tops & (TRAINING_ONLY | {"local", "deploy", "tests", "benchmarks", "moto"})


@pytest.mark.parametrize("path", sorted(ROOT.glob("chalicelib/vision/**/*.py")), ids=_name)
def test_the_vision_core_is_pure(path: Path) -> None:
    third_party = {name.split(".")[0] for name in _imports(path)} - sys.stdlib_module_names

    assert third_party <= {"numpy", "PIL", "onnxruntime", "chalicelib"}
    assert _ours(path) <= {"vision", "errors"}


@pytest.mark.parametrize("module", JUDGING)
def test_judging_a_submission_is_pure(module: str) -> None:
    path = ROOT / f"chalicelib/trust/{module}.py"
    third_party = {name.split(".")[0] for name in _imports(path)} - sys.stdlib_module_names

    assert third_party <= {"numpy", "chalicelib"}
    assert _ours(path) <= {"trust", "vision", "errors"}


@pytest.mark.parametrize("leaf", sorted(LEAVES))
def test_leaves_import_only_leaves(leaf: str) -> None:
    assert _ours(ROOT / f"chalicelib/{leaf}.py") <= LEAVES


@pytest.mark.parametrize("path", SHIPPED, ids=_name)
def test_only_blueprints_reach_for_the_composition_root(path: Path) -> None:
    reaches_in = "wiring" in _ours(path)

    may_reach_in = path.stem in BLUEPRINTS | PARTS_OF_THE_ROOT
    assert may_reach_in or not reaches_in, f"{_name(path)} imports chalicelib.wiring"


@pytest.mark.parametrize("path", SHIPPED, ids=_name)
def test_only_settings_reads_the_environment(path: Path) -> None:
    if path.name != "settings.py":
        assert "environ" not in path.read_text(encoding="utf-8")
        assert "getenv" not in path.read_text(encoding="utf-8")


def test_importing_the_vision_core_stays_light() -> None:
    heavy = ["boto3", "botocore", "psycopg2", "pydantic", "chalice"]
    code = f"import sys, chalicelib.vision; print([m for m in {heavy} if m in sys.modules])"

    seen = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)

    assert seen.stdout.decode().strip() == "[]"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert _body_lines(node) <= 50, f"{node.name} is too long"


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count a function's lines without its docstring."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return body[-1].end_lineno - node.lineno if body else 0  # type: ignore[operator]


def test_app_py_only_assembles() -> None:
    app = ROOT / "app.py"

    assert len(app.read_text(encoding="utf-8").splitlines()) < 60
