"""`make pin-images` writes the digests that a registry has, and none that it made up."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chalicelib.errors import ConfigurationError
from deploy.pin_images import pin
from local.home import free_port

MANIFEST = b'{"schemaVersion": 2}'
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"


class Registry(BaseHTTPRequestHandler):
    """A registry with one image, which wants an anonymous token as Docker Hub does."""

    digest = DIGEST

    def do_GET(self) -> None:
        host = self.headers["Host"]
        if self.path == "/token?service=registry&scope=repository%3Abase%3Apull":
            self._answer(200, json.dumps({"token": "a-token"}).encode(), {})
        elif self.path != "/v2/base/manifests/1.0":
            self._answer(404, b"{}", {})
        elif self.headers["Authorization"] != "Bearer a-token":
            scope = 'service="registry",scope="repository:base:pull"'
            challenge = f'Bearer realm="http://{host}/token",{scope}'
            self._answer(401, b"{}", {"WWW-Authenticate": challenge})
        else:
            assert "image.index" in self.headers["Accept"]
            self._answer(200, MANIFEST, {"Docker-Content-Digest": self.digest})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("pinned_before", ["", f"@sha256:{'0' * 64}"])
def test_each_base_gets_its_digest(registry: str, tmp_path: Path, pinned_before: str) -> None:
    file = tmp_path / "Dockerfile"
    image = f"{registry}/base:1.0"
    file.write_text(f"# a comment\nFROM {image}{pinned_before} AS builder\nRUN FROM\n")

    assert pin([file]) == {image: DIGEST}

    assert file.read_text() == f"# a comment\nFROM {image}@{DIGEST} AS builder\nRUN FROM\n"


@pytest.mark.parametrize("missing", ["base:2.0", "another:1.0", ""])
def test_where_one_cannot_be_resolved_no_file_is_changed(
    registry: str, tmp_path: Path, missing: str
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text(f"FROM {registry}/base:1.0\n")
    nowhere = f"127.0.0.1:{free_port()}/base:1.0"
    bad.write_text(f"FROM {registry}/{missing}\n" if missing else f"FROM {nowhere}\n")
    before = good.read_text(), bad.read_text()

    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1"):
        pin([good, bad])

    assert (good.read_text(), bad.read_text()) == before


def test_a_registry_that_contradicts_itself_is_not_believed(
    registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "digest", f"sha256:{'1' * 64}")
    file = tmp_path / "Dockerfile"
    file.write_text(f"FROM {registry}/base:1.0\n")

    with pytest.raises(ConfigurationError, match="and not sha256:1111"):
        pin([file])
