"""Runs one child and ends it, kindly first, as soon as whoever started the guard is gone.

``python -m local.guard [--user NAME] COMMAND …`` with a pipe as standard input: when the pipe
closes, be it by a clean stop or because the process at its other end was killed, the child gets
SIGINT, and after a while SIGKILL. So no server outlives the stack, on Linux and on macOS alike.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading

PATIENCE_SECONDS = 20
PR_SET_PDEATHSIG = 1
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(command: list[str]) -> int:
    """Run the command and return its exit status."""
    user = None
    if command[0] == "--user":
        _, user, *command = command
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        user=user,
        extra_groups=_none(user),
        preexec_fn=_end_with_the_guard,  # noqa: PLW1509 - there are no other threads yet
    )
    for number in IGNORED:  # after the child is made, which would inherit it
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_our_parent, args=(child,), daemon=True).start()
    return child.wait()


def _none(user: str | None) -> list[str] | None:
    """Return no groups at all for another user, and leave ours alone."""
    return None if user is None else []


def _end_with_the_guard() -> None:
    """Have Linux send SIGINT to this process when the guard is killed; elsewhere nobody does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def _end_with_our_parent(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1024):
        pass
    child.send_signal(signal.SIGINT)
    try:
        child.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
