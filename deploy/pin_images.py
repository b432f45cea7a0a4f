"""Pins the Dockerfiles' base images to the digests that their registry has (`make pin-images`).

A tag may name another image tomorrow; ``FROM python:3.12-slim-bookworm@sha256:…`` names one. The
digest is the SHA-256 of the manifest that the registry sends, computed here. Where a registry
cannot be reached, no file is changed.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Self

from chalicelib.errors import ConfigurationError

ROOT = Path(__file__).parents[1]
DOCKERFILES = ("sagemaker/serving/Dockerfile", "sagemaker/training/Dockerfile")
DOCKER_HUB = "registry-1.docker.io"
BASE = re.compile(r"^(FROM (?:--platform=\S+ )?)(?P<image>[^\s@]+)(?:@sha256:[0-9a-f]{64})?", re.M)
MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
SECONDS = 20
LARGEST_MANIFEST = 4 * 1024 * 1024


@dataclass(frozen=True)
class Image:
    """A base image by its tag.

    >>> Image.parse("python:3.12")
    Image(registry='registry-1.docker.io', repository='library/python', tag='3.12')
    >>> Image.parse("localhost:5000/team/base").repository
    'team/base'
    """

    registry: str
    repository: str
    tag: str

    @classmethod
    def parse(cls, reference: str) -> Self:
        """Read what follows ``FROM``, without a digest."""
        head, _, rest = reference.partition("/")
        has_registry = bool(rest) and ("." in head or ":" in head or head == "localhost")
        registry, path = (head, rest) if has_registry else (DOCKER_HUB, reference)
        repository, _, tag = path.partition(":")
        if registry == DOCKER_HUB and "/" not in repository:
            repository = f"library/{repository}"
        return cls(registry, repository, tag or "latest")

    @property
    def manifest_url(self) -> str:
        """Where the registry has the manifest."""
        is_local = self.registry.partition(":")[0] in {"localhost", "127.0.0.1"}
        scheme = "http" if is_local else "https"
        return f"{scheme}://{self.registry}/v2/{self.repository}/manifests/{self.tag}"


def resolve(image: Image) -> str:
    """Return the digest of an image, ``sha256:…``, as its registry has it now.

    Raises
    ------
    ConfigurationError
        The registry cannot be reached, does not have the image, or contradicts itself.
    """
    headers = {"Accept": MANIFESTS}
    try:
        try:
            body, named = _get(image.manifest_url, headers)
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.UNAUTHORIZED:
                raise
            token = _token(error.headers.get("WWW-Authenticate", ""))
            body, named = _get(image.manifest_url, headers | {"Authorization": f"Bearer {token}"})
    except (OSError, HTTPException, ValueError) as error:
        raise ConfigurationError(f"{image.manifest_url}: {error}") from error
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    if named and named != digest:
        raise ConfigurationError(f"{image.manifest_url}: it is {digest} and not {named}")
    return digest


def _get(url: str, headers: Mapping[str, str]) -> tuple[bytes, str]:
    request = urllib.request.Request(url, headers=dict(headers))
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        body = answer.read(LARGEST_MANIFEST + 1)
        if len(body) > LARGEST_MANIFEST:
            raise ValueError("the manifest is too large")
        return body, answer.headers.get("Docker-Content-Digest", "")


def _token(challenge: str) -> str:
    """Return an anonymous token for what a registry's challenge names."""
    asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    realm = asked.pop("realm", "")
    if not realm.startswith(("https://", "http://127.0.0.1", "http://localhost")):
        raise ValueError(f"the registry asks for what this cannot give: {challenge!r}")
    body, _ = _get(f"{realm}?{urllib.parse.urlencode(asked)}", {})
    answer = json.loads(body)
    token = answer.get("token") or answer.get("access_token")
    if not token:
        raise ValueError("the registry gives no token")
    return str(token)


def pin(files: Sequence[Path]) -> dict[str, str]:
    """Write the digests into Dockerfiles, into all or none; return them by image.

    Raises
    ------
    ConfigurationError
        One of them cannot be resolved.
    """
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    images = {match["image"] for text in texts.values() for match in BASE.finditer(text)}
    digests = {image: resolve(Image.parse(image)) for image in sorted(images)}
    for file, text in texts.items():
        pinned = BASE.sub(lambda m: f"{m[1]}{m['image']}@{digests[m['image']]}", text)
        file.write_text(pinned, encoding="utf-8")
    return digests


def main() -> int:
    """Pin the Dockerfiles of this repository and return the exit status."""
    try:
        digests = pin([ROOT / name for name in DOCKERFILES])
    except ConfigurationError as error:
        print(f"nothing was changed: {error.detail}", file=sys.stderr)
        return 1
    for image, digest in digests.items():
        print(f"{image}@{digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
