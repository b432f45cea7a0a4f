"""Servers that run beside the stack and end with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from local.errors import LocalError
from local.home import ROOT, Home

STOP_SECONDS = 30


class Child:
    """One server, guarded (see ``local.guard``).

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
        self._log = home.path / "logs" / f"{name}.log"
        given = dict(os.environ if environment is None else environment)
        guard = [sys.executable, "-m", "local.guard"]
        as_user = [] if user is None else ["--user", user]
        with home.log(name) as log:
            self._guard = subprocess.Popen(
                [*guard, *as_user, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=given,
                start_new_session=True,
                pass_fds=[home.held_by_servers],
            )

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

    def stop(self) -> None:
        """Let the server end and wait for it."""
        if self._guard.stdin:
            self._guard.stdin.close()
        try:
            self._guard.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._guard.kill()

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return f"{lines[-1] if lines else 'it said nothing'} (see {self._log})"
