"""The folder that holds what must outlive a run: data, logs, ports, one lock."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from io import TextIOWrapper
from pathlib import Path

from local.errors import LocalError

ROOT = Path(__file__).parent.parent


class Home:
    """The data folder of one stack, locked while the stack runs.

    Parameters
    ----------
    path : Path
        Made where it is missing.

    Raises
    ------
    LocalError
        The folder cannot be written, or another stack runs in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        try:
            (self.path / "logs").mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / "lock").open("w", encoding="utf-8")
        except OSError as error:
            raise LocalError(
                f"cannot write to {self.path}: {error.strerror}; "
                "set SIGHTLOOP_HOME to a folder you may write to"
            ) from error
        self._take_lock()

    def log(self, name: str) -> TextIOWrapper:
        """Open one of the logs to append to."""
        return (self.path / "logs" / f"{name}.log").open("a", encoding="utf-8", buffering=1)

    def port(self, name: str) -> int:
        """Return a free port, the same as last time if it can be."""
        file = self.path / "ports.json"
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if not is_free(known.get(name, 0)):
            known[name] = _free_port()
            file.write_text(json.dumps(known), encoding="utf-8")
        return int(known[name])

    def secret(self, name: str) -> str:
        """Return a password, made on first use and readable by its owner only."""
        file = self.path / f"{name}.secret"
        if not file.exists():
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as written:
                written.write(secrets.token_urlsafe(24))
        return file.read_text(encoding="utf-8")

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError(
                f"another stack runs in {self.path}: stop it (Ctrl-C), or set SIGHTLOOP_HOME"
            ) from None


def is_free(port: int) -> bool:
    """Tell whether a port on 127.0.0.1 can be listened on; 0 never is."""
    if not port:
        return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
