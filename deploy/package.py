"""Builds the zip that Lambda runs: Chalice's own package, made smaller and faster to start.

Chalice names a package after the hash of what goes into it and takes one that is there already:
the package is built here first, with Chalice's own packager, and ``chalice deploy`` uploads it.
Without this step a package is larger, but it works as well.
"""

from __future__ import annotations

import compileall
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from py_compile import PycInvalidationMode

from chalice.deploy.packager import (
    DependencyBuilder,
    LambdaDeploymentPackager,
    MissingDependencyError,
    NoSuchPackageError,
    PackageDownloadError,
    PipRunner,
    SubprocessPip,
)
from chalice.utils import UI, OSUtils
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from chalicelib.errors import ConfigurationError
from deploy.cloud import log

RUNTIME = "python3.12"
MEBIBYTE = 1024 * 1024
LARGEST_ZIP = 50 * MEBIBYTE
LARGEST_UNZIPPED = 250 * MEBIBYTE
PIP_FAILS = (MissingDependencyError, NoSuchPackageError, PackageDownloadError)
SMALL = b"made smaller by sightloop"
LINUX = {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux"}

# What no Lambda ever imports. onnxruntime's wheel holds its library twice: once inside the Python
# module, once for programs in C.
DROPPED_FOLDERS = {
    "coloredlogs",
    "humanfriendly",
    "mpmath",
    "numpy/f2py",
    "onnxruntime/backend",
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    "sympy",
    "telegram/ext",
}
DROPPED_FILES = re.compile(
    r"(^|/)(tests|__pycache__|bin)/|\.(a|c|h|pxd|pyi|pyx)$|^onnxruntime/capi/libonnxruntime\.so"
)
ELF_X86_64 = 0x3E


@dataclass(frozen=True)
class Package:
    """What is in a deployment package."""

    path: Path
    zipped_bytes: int
    unzipped_bytes: int

    @property
    def summary(self) -> str:
        """One line for the one who deploys."""
        zipped, unzipped = self.zipped_bytes / MEBIBYTE, self.unzipped_bytes / MEBIBYTE
        return f"package: {zipped:.1f} MiB zipped (of 50), {unzipped:.1f} MiB unzipped (of 250)"


def build(project: Path) -> Package:
    """Build, shrink and check the package of a project, or take the one that is there.

    Raises
    ------
    ConfigurationError
        A dependency is missing from the package, or it is too large for Lambda.
    """
    _forget_bytecode(project)
    path = _package(project)
    shrink(path)
    _forget_others(path)
    return check(path, project / "requirements.txt")


def _package(project: Path) -> Path:
    """Build the package as Chalice does, or find the one that it built of the same parts."""
    osutils = OSUtils()
    pip = PipRunner(pip=SubprocessPip(osutils=osutils), osutils=osutils)
    packager = LambdaDeploymentPackager(osutils, DependencyBuilder(osutils, pip), UI())
    try:
        return Path(packager.create_deployment_package(str(project), RUNTIME))
    except PIP_FAILS as error:
        told = str(error).strip() or type(error).__name__
        raise ConfigurationError(
            f"pip cannot get what requirements.txt asks for (is PyPI reachable?): {told}"
        ) from error


def _forget_others(package: Path) -> None:
    """Remove the packages of earlier versions, 40 MiB each."""
    for other in package.parent.glob(f"*-{RUNTIME}.zip"):
        if other != package:
            other.unlink()


def _forget_bytecode(project: Path) -> None:
    """Remove what Python leaves between the sources: Chalice would package it and hash it."""
    for folder in sorted((project / "chalicelib").rglob("__pycache__")):
        shutil.rmtree(folder, ignore_errors=True)


def shrink(package: Path) -> None:
    """Leave out what is never imported, and put bytecode in, which Lambda cannot write itself."""
    with zipfile.ZipFile(package) as given:
        if given.comment == SMALL:
            return
        with tempfile.TemporaryDirectory() as folder:
            wanted = [name for name in given.namelist() if not is_dropped(name)]
            given.extractall(folder, wanted)
            compileall.compile_dir(
                folder,
                quiet=2,  # some packages carry templates that are no Python
                stripdir=folder,
                prependdir="/var/task",
                invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
            )
            made = package.with_suffix(".tmp")
            _zip(Path(folder), made)
    made.replace(package)


def is_dropped(name: str) -> bool:
    """Tell whether a file of the package is of no use in Lambda.

    Examples
    --------
    >>> is_dropped("numpy/_core/tests/test_array.py"), is_dropped("numpy/_core/_methods.py")
    (True, False)
    """
    parents = {str(parent) for parent in PurePosixPath(name).parents}
    return bool(parents & DROPPED_FOLDERS or DROPPED_FILES.search(name))


def _zip(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w") as made:
        made.comment = SMALL
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix())
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if os.access(file, os.X_OK) else 0o644) << 16
            made.writestr(entry, file.read_bytes())


def check(package: Path, requirements: Path) -> Package:
    """Open a package and see that all is in it, for Lambda's machine, and that it fits.

    Chalice leaves a dependency without a fitting wheel out with no more than a warning.

    Raises
    ------
    ConfigurationError
        It would not run, or Lambda would not take it.
    """
    with zipfile.ZipFile(package) as made:
        faults = [
            *(f"{name} is missing" for name in sorted(_missing(made, requirements))),
            *(f"{name} is not for Linux on x86-64, {RUNTIME}" for name in _foreign(made)),
        ]
        unzipped = sum(entry.file_size for entry in made.infolist())
    found = Package(package, package.stat().st_size, unzipped)
    if found.zipped_bytes >= LARGEST_ZIP or unzipped >= LARGEST_UNZIPPED:
        faults.append(f"it is too large ({found.summary})")
    if faults:
        raise ConfigurationError(f"{package.name} cannot be deployed: {'; '.join(faults)}")
    log.info(found.summary)
    return found


def _missing(package: zipfile.ZipFile, requirements: Path) -> set[str]:
    folders = {name.split("/")[0] for name in package.namelist()}
    there = {
        canonicalize_name(folder.split("-")[0]) for folder in folders if ".dist-info" in folder
    }
    return set(required(requirements)) - there


def required(requirements: Path) -> Iterator[str]:
    """Yield the names of the distributions that a file asks for on Lambda's machine."""
    for line in requirements.read_text(encoding="utf-8").splitlines():
        text = line.split("#")[0].strip()
        if text:
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate(LINUX):
                yield canonicalize_name(wanted.name)


def _foreign(package: zipfile.ZipFile) -> Iterator[str]:
    """Yield compiled parts for another machine or another Python than Lambda's."""
    for name in package.namelist():
        file = PurePosixPath(name).name
        if file.endswith((".dylib", ".pyd", ".dll")):
            yield name
        elif file.endswith(".so") or ".so." in file:
            tag = re.search(r"\.cpython-(\d+)", file)
            with package.open(name) as part:
                head = part.read(20)
            ours = head[:4] == b"\x7fELF" and head[18] == ELF_X86_64
            if not ours or (tag and tag[1] != "312"):
                yield name
