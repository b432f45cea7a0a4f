"""Servers that run beside the stack and end with it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from local.errors import LocalError
from local.home import ROOT, Home

STOP_SECONDS = 30
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
LONG_SECONDS = 30.0


def _say(line: str) -> None:
    print(f"sightloop: {line}", file=sys.stderr, flush=True)


class Child:
    """One server, guarded (see ``local.guard``); once it was ready, it is started again if it ends.

    Parameters
    ----------
    home : Home
    name : str
        Of its log.
    command : sequence of str
    environment : mapping, optional
        The whole environment; ours where not given.
    user : str, optional
        Whom it runs as.
    """

    def __init__(
        self,
        home: Home,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        self.name = name
        self._home = home
        self._log = home.path / "logs" / f"{name}.log"
        self._environment = dict(os.environ if environment is None else environment)
        as_user = [] if user is None else ["--user", user]
        self._command = [sys.executable, "-m", "local.guard", *as_user, *command]
        self._is_ready = False
        self._stopping = threading.Event()
        self._turn = threading.Lock()
        self._guard = self._start()
        threading.Thread(target=self._supervise, daemon=True).start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._home.log(self.name) as log:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=log.fileno(),
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=self._environment,
                start_new_session=True,
                pass_fds=[self._home.held_by_servers],
            )

    def _supervise(self) -> None:
        """Start the server again whenever it ends, later each time that it ends soon."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            started = time.monotonic()
            self._guard.wait()
            if not self._is_ready or self._stopping.wait(pause):
                return
            _say(f"{self.name} has ended: it is started again (see {self._log})")
            ran_long = time.monotonic() - started > LONG_SECONDS
            pause = FIRST_PAUSE_SECONDS if ran_long else min(2 * pause, LONGEST_PAUSE_SECONDS)
            with self._turn:
                if self._stopping.is_set():
                    return
                self._restart()

    def _restart(self) -> None:
        try:
            self._guard = self._start()
        except OSError as error:  # the disk is full: the guard that has ended is looked at again
            _say(f"{self.name} cannot be started: {error.strerror}")

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until the server is ready.

        Raises
        ------
        LocalError
            It ended, or was not ready in time; the end of its log is shown.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if self._guard.poll() is not None:
                raise LocalError(f"{self.name} ended: {self._last_words()}")
            if time.monotonic() > deadline:
                raise LocalError(f"{self.name} was not ready in {seconds:.0f} s: {self._log}")
            time.sleep(0.03)
        self._is_ready = True

    def stop(self) -> None:
        """Let the server end and wait for it."""
        self._stopping.set()
        with self._turn:
            self._end()

    def _end(self) -> None:
        if self._guard.stdin:
            self._guard.stdin.close()
        try:
            self._guard.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._guard.kill()

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return f"{lines[-1] if lines else 'it said nothing'} (see {self._log})"
