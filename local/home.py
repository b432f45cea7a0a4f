"""The folder that holds what must outlive a run: data, logs, ports, and the locks on them."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import secrets
import socket
import time
from io import TextIOWrapper
from pathlib import Path

from local.errors import LocalError

ROOT = Path(__file__).parent.parent
LAST_RUN_SECONDS = 60
HOST = "127.0.0.1"
BACKLOG = 128


class Log(io.TextIOBase):
    """A log file to append to; text that the disk has no room for is left out.

    A request is answered whether or not its line can be written.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)  # a buffer would keep what cannot be written

    def write(self, text: str) -> int:
        """Append text, if it can be."""
        with contextlib.suppress(OSError):
            self._file.write(text.encode("utf-8", "replace"))
        return len(text)

    def fileno(self) -> int:
        """Return the file descriptor, for a server that writes by itself."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


class Home:
    """The data folder of one stack, locked while the stack runs.

    There are two locks. One is held by the stack alone. The other is held by its servers as well,
    and outlives a stack that was killed until the last of them has saved its data.

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
            for private in ("logs", "aws"):  # secrets, photos, tokens: for their owner only
                (self.path / private).mkdir(parents=True, exist_ok=True)
                (self.path / private).chmod(0o700)
            self._lock = (self.path / "lock").open("w", encoding="utf-8")
            self._servers_lock = (self.path / "servers.lock").open("w", encoding="utf-8")
        except OSError as error:
            raise LocalError(
                f"cannot write to {self.path}: {error.strerror}; "
                "set SIGHTLOOP_HOME to a folder you may write to"
            ) from error
        if not _taken(self._lock):
            raise LocalError(
                f"another stack runs in {self.path}: stop it (Ctrl-C), or set SIGHTLOOP_HOME"
            )
        self._wait_for_the_last_run()

    @property
    def held_by_servers(self) -> int:
        """The file descriptor that a server is given, to hold the folder until it has ended."""
        return self._servers_lock.fileno()

    def close(self) -> None:
        """Let others have the folder, as soon as our servers have ended."""
        self._servers_lock.close()
        self._lock.close()

    def log(self, name: str) -> Log:
        """Open one of the logs to append to."""
        return Log(self.path / "logs" / f"{name}.log")

    def port(self, name: str) -> int:
        """Return a free port, the same as last time if it can be."""
        file = self.path / "ports.json"
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if not is_free(known.get(name, 0)):
            known[name] = free_port()
            write_whole(file, json.dumps(known))
        return int(known[name])

    def secret(self, name: str) -> str:
        """Return a password, made on first use and readable by its owner only."""
        file = self.path / f"{name}.secret"
        if not file.exists():
            write_whole(file, secrets.token_urlsafe(24))
        return file.read_text(encoding="utf-8")

    def _wait_for_the_last_run(self) -> None:
        """Wait until the servers of a stack that was killed have saved their data."""
        deadline = time.monotonic() + LAST_RUN_SECONDS
        while not _taken(self._servers_lock):
            if time.monotonic() > deadline:
                raise LocalError(f"servers of the last run in {self.path} do not end: kill them")
            time.sleep(0.05)


def write_whole(file: Path, text: str) -> None:
    """Write a file whole or not at all, readable by its owner only.

    Raises
    ------
    OSError
        The disk is full, say; the file is as it was.
    """
    draft = file.with_name(f"{file.name}.new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as written:
        written.write(text.encode())
    draft.replace(file)


def _taken(lock: TextIOWrapper) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def listen(port: int, host: str = HOST) -> socket.socket:
    """Take a port at once, any where it is 0; who calls before it is served waits.

    Raises
    ------
    LocalError
        The port is in use.
    """
    try:
        return socket.create_server((host, port), backlog=BACKLOG)
    except OSError as error:
        other = port % 60_000 + 1000
        raise LocalError(f"port {port} is in use: PORT={other} make run takes another") from error


def is_free(port: int) -> bool:
    """Tell whether a port on 127.0.0.1 can be listened on; 0 never is."""
    if not port:
        return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
