"""Fetches the libraries that the pages use into ``chalicelib/web/static/vendor`` (`make vendor`).

They are committed, so nobody who runs or deploys Sightloop needs this, npm or Node; it shows where
each file is from, and takes a newer version in. For that, set the version here, and the digest that
the npm registry names as ``dist.integrity``, and look through the tests of the browser.
"""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chalicelib.errors import ConfigurationError
from deploy.cloud import log

VENDOR = Path(__file__).parents[1] / "chalicelib/web/static/vendor"
REGISTRY = "https://registry.npmjs.org"
DIST = "package/dist/annotorious"
SECONDS = 60


@dataclass(frozen=True)
class Package:
    """A release of a package in the npm registry.

    Attributes
    ----------
    integrity : str
        SHA-512 of its archive in base64, as the registry names it.
    license : str
        The archive's member that holds the licence; empty where it holds none.
    """

    name: str
    version: str
    integrity: str
    license: str = ""

    @property
    def url(self) -> str:
        """Where the archive is."""
        plain = self.name.rpartition("/")[2]
        return f"{REGISTRY}/{self.name}/-/{plain}-{self.version}.tgz"

    def open(self) -> tarfile.TarFile:
        """Download the archive.

        Raises
        ------
        ConfigurationError
            It is another than the one that was pinned.
        """
        with urllib.request.urlopen(self.url, timeout=SECONDS) as answer:
            archive = answer.read()
        digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
        if digest != self.integrity:
            raise ConfigurationError(f"{self.url} has the digest {digest}, not {self.integrity}")
        return tarfile.open(fileobj=io.BytesIO(archive))


ANNOTORIOUS = Package(
    "@annotorious/annotorious",
    "3.8.10",
    "s1tWrJp//tJNNu5qKzZilXooMKGwztUzWzWuTqwM2+xfUpsG/XimrgXGhfEuvD0Koy12NcBqNZ83bqg+iCossg==",
)
"""Draws and edits boxes over a photo. Its archive holds no licence, its predecessor's does."""

LICENSED = (
    Package(
        "@recogito/annotorious",
        "2.7.14",
        "pFIOzgMRvwLvRl5N8Ak4jHW6hr2HOH4+h4YaJBN3tPtgycJ/f1UXeKg4gleQSffYD6c5+ySqjIQK0pW7b/2dLg==",
        "package/LICENSE",
    ),
    Package(
        "svelte",
        "4.2.20",
        "eeEgGc2DtiUil5ANdtd8vPwt9AgaMdnuUFnPft9F5oMvU/FHu5IHFic+p1dR/UOB7XU2mX2yHW+NcTch4DCh5Q==",
        "package/LICENSE.md",
    ),
    Package(
        "rbush",
        "4.0.1",
        "IP0UpfeWQujYC8Jg162rMNc01Rf0gWMMAb2Uxus/Q0qOFw4lCcq6ZnQEZwUoJqWyUGJ9th7JjwI4yIWo+uvoAQ==",
        "package/LICENSE",
    ),
    Package(
        "quickselect",
        "3.0.0",
        "XdjUArbK4Bm5fLLvlm5KpTFOiOThgfWWI4axAZDWg4E/0mKdZyI9tNEfds27qCi1ze/vwTR16kvmmGhRra3c2g==",
        "package/LICENSE",
    ),
    Package(
        "simplify-js",
        "1.2.4",
        "vITfSlwt7h/oyrU42R83mtzFpwYk3+mkH9bOHqq/Qw6n8rtR7aE3NZQ5fbcyCUVVmuMJR6ynsAhOfK2qoah8Jg==",
        "package/LICENSE",
    ),
    Package(
        "dequal",
        "2.0.3",
        "0je+qPKHEMohvfRTCEo3CrPG6cAzAYgmzKyxRiYSSDkS6eGJdyVJm7WaYA5ECaAD9wLB2T4EEeymA5aFVcYXCA==",
        "package/license",
    ),
    Package(
        "uuid",
        "14.0.2",
        "xZe/16rV4aa+HGSOCiY2YeLT1OybRLrrkL/Rqaq7p7GMVXjFh+6wN4oMYgjFmnSnhY8t6Xpdl2l9qmnHYuMHwQ==",
        "package/LICENSE.md",
    ),
    Package(
        "nanostores",
        "1.5.5",
        "FixtE239Gl6Gz0ZGCK0WzvNwObNCIwVT+L7zQcf1QgcA6AzBxblzqe9OT88qiucNkhsjSOqiogSaF5jVbJiqSA==",
        "package/LICENSE",
    ),
    Package(
        "nanoevents",
        "9.1.0",
        "Jd0fILWG44a9luj8v5kED4WI+zfkkgwKyRQKItTtlPfEsh7Lznfi1kr8/iZ+XAIss4Qq5GqRB0qtWbaz9ceO/A==",
        "package/LICENSE",
    ),
)
"""What has its licence in ``LICENSES.txt``: Annotorious and all that is bundled in its file."""


def refresh(folder: Path) -> None:
    """Write the libraries' files, their licences, and a note of where they are from.

    Raises
    ------
    ConfigurationError
        An archive is not the one that was pinned.
    """
    folder.mkdir(exist_ok=True)
    with ANNOTORIOUS.open() as archive:
        for ending in ("js", "css"):
            file = folder / f"annotorious.{ending}"
            file.write_bytes(_member(archive, f"{DIST}.{ending}"))
            log.info("wrote %s", file)
    (folder / "LICENSES.txt").write_text(_licenses(LICENSED), encoding="utf-8")
    (folder / "SOURCES.txt").write_text(_sources(folder), encoding="utf-8")


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file  # a regular file, in an archive whose digest is known
    return file.read()


def _licenses(packages: Sequence[Package]) -> str:
    texts = []
    for package in packages:
        with package.open() as archive:
            text = _member(archive, package.license).decode().strip()
        texts.append(f"{package.name}\n{'-' * len(package.name)}\n\n{text}\n")
    return "\n\n".join(texts)


def _sources(folder: Path) -> str:
    written = sorted(folder.glob("annotorious.*"))
    digests = (f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}" for file in written)
    return (
        f"{ANNOTORIOUS.name} {ANNOTORIOUS.version}, unchanged, from {ANNOTORIOUS.url}\n"
        "Licences of it and of what is bundled in it: LICENSES.txt. Refreshed by `make vendor`.\n"
        f"sha256 (check with `sha256sum -c SOURCES.txt`):\n\n"
        f"{chr(10).join(digests)}\n"
    )


if __name__ == "__main__":
    refresh(VENDOR)
