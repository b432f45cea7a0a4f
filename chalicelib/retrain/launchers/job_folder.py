"""What is on disk of a training on this machine: one folder a job.

::

    job.json       what to run, an Order
    state.json     how often it was started, a State
    wish           stop or pause, where somebody asked for it
    ended.json     how it ended, an End; written last
    keeper.lock    held as long as a keeper lives
    trainer.lock   held as long as a trainer lives, or a process of its own
    trainer.log    what the trainer said
    keeper.log     what the keeper said, where it failed
    work/          where the trainer works; gone when it has ended

The kernel lets go of a lock however its holder dies, so who lives is never guessed from a number.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import time
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Literal

from chalicelib.errors import ConfigurationError

HOLD_SECONDS = 1.0
Wish = Literal["stop", "pause"]


@dataclass(frozen=True)
class Order:
    """What a keeper has to do.

    Attributes
    ----------
    command : tuple of str
        Starts the trainer.
    max_seconds : float
        For which it may run, all starts together.
    restarts : int
        How often it may be interrupted before it is given up.
    patience_seconds : float
        For which a trainer that was asked to end may go on, to put its things away.
    """

    command: tuple[str, ...]
    max_seconds: float
    restarts: int
    patience_seconds: float


@dataclass(frozen=True)
class State:
    """How far a keeper has come.

    Attributes
    ----------
    starts : int
        Of the trainer.
    interruptions : int
        How often it was killed, or said that another start may fare better.
    seconds : float
        For which it ran, in starts that have ended.
    pid : int
        Of the trainer that runs; 0: none does, or nobody saw it end.
    """

    starts: int = 0
    interruptions: int = 0
    seconds: float = 0.0
    pid: int = 0


@dataclass(frozen=True)
class End:
    """How a training ended, as `Status` says it."""

    state: Literal["ended", "failed", "stopped"]
    detail: str = ""


class JobFolder:
    """The folder of one job."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def work(self) -> Path:
        """Where the trainer works."""
        return self.path / "work"

    def begin(self, order: Order) -> None:
        """Write down what to run; nothing where that was done before.

        Raises
        ------
        ConfigurationError
            The folder cannot be written.
        """
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            if self.order() is None:
                self._write("job.json", order)
        except OSError as error:
            raise ConfigurationError(
                f"cannot write to {self.path}: {error.strerror}; "
                "set SIGHTLOOP_HOME to a folder that this process may write to"
            ) from error

    def order(self) -> Order | None:
        """Return what to run; none: no such job was begun here."""
        written = self._read("job.json")
        return Order(**{**written, "command": tuple(written["command"])}) if written else None

    def state(self) -> State:
        """Return how far the keeper has come."""
        return State(**(self._read("state.json") or {}))

    def note(self, state: State) -> None:
        """Write down how far the keeper has come."""
        self._write("state.json", state)

    def end(self) -> End | None:
        """Return how the training ended; none: it has not."""
        written = self._read("ended.json")
        return End(**written) if written else None

    def note_end(self, end: End) -> None:
        """Write down how the training ended."""
        self._write("ended.json", end)

    def wish(self) -> Wish | None:
        """Return what somebody asked for."""
        try:
            return "stop" if (self.path / "wish").read_text(encoding="utf-8") == "stop" else "pause"
        except FileNotFoundError:
            return None

    def ask_to_stop(self) -> None:
        """Have the training stop for good."""
        self._replace("wish", "stop")

    def ask_to_pause(self) -> None:
        """Have the training pause until it is taken up again; a wish to stop stands."""
        if self.wish() is None:
            self._replace("wish", "pause")

    def ask_to_go_on(self) -> None:
        """Take back a wish to pause."""
        if self.wish() == "pause":
            (self.path / "wish").unlink(missing_ok=True)

    def is_kept(self) -> bool:
        """Tell whether a keeper lives."""
        return self._is_held("keeper.lock")

    def is_trained(self) -> bool:
        """Tell whether a trainer lives."""
        return self._is_held("trainer.lock")

    def hold(self, lock: Literal["keeper.lock", "trainer.lock"]) -> TextIOWrapper | None:
        """Take a lock, which is held until the file is closed; none where another holds it.

        It is tried for a second, for whoever only looks holds it for a moment too.
        """
        file = (self.path / lock).open("w", encoding="utf-8")
        deadline = time.monotonic() + HOLD_SECONDS
        while not _taken(file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                file.close()
                return None
            time.sleep(0.01)
        return file

    def last_words(self, log: Literal["trainer.log", "keeper.log"]) -> str:
        """Return the last line of a log that says anything, of 500 characters at most."""
        try:
            with (self.path / log).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
                said = file.read().decode("utf-8", errors="replace").split("\n")
        except FileNotFoundError:
            said = []
        return next((line.strip()[-500:] for line in reversed(said) if line.strip()), "nothing")

    def _is_held(self, lock: str) -> bool:
        try:
            with (self.path / lock).open("r", encoding="utf-8") as file:
                return not _taken(file, fcntl.LOCK_SH)
        except FileNotFoundError:
            return False

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            return dict(json.loads((self.path / name).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def _write(self, name: str, told: Order | State | End) -> None:
        self._replace(name, json.dumps(dataclasses.asdict(told)))

    def _replace(self, name: str, text: str) -> None:
        """Write a file so that readers see the old one or the new one, whole."""
        written = self.path / f"{name}.{os.getpid()}.tmp"
        written.write_text(text, encoding="utf-8")
        written.replace(self.path / name)


def _taken(file: TextIOWrapper, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
