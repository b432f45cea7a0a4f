"""`python -m local.trainers`: trainings go on with the stack, and pause when it ends.

Under ``local.guard`` it is asked to end when the stack is stopped and when it is killed alike, so
that nobody's machine is kept busy by a stack that is gone. The next stack takes them up again.
"""

from __future__ import annotations

import signal
import sys

from chalicelib import settings
from chalicelib.errors import SightloopError
from chalicelib.retrain.launchers.process import of_settings

PATIENCE_SECONDS = 18  # below that of the guard
ASKED_TO_END = (signal.SIGINT, signal.SIGTERM)


def main() -> int:
    """Take up what was paused, wait to be asked to end, and pause it again."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ASKED_TO_END)
    for number in ASKED_TO_END:
        signal.signal(number, lambda *_: None)  # one that is ignored could not be waited for
    launcher = of_settings(settings.load())
    try:
        launcher.resume_all()
    except SightloopError as error:  # the schedule tries again
        print(error.detail, file=sys.stderr, flush=True)
    signal.sigwait(ASKED_TO_END)
    launcher.pause_all(PATIENCE_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
