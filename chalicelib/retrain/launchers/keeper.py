"""Keeps one training on this machine going: starts the trainer, and again where it was killed.

``python -m chalicelib.retrain.launchers.keeper FOLDER`` returns as soon as the folder has its one
keeper, which goes on behind: in a session of its own, whatever becomes of whoever started it. Where
it is killed as well, the trainer runs on, and the next keeper waits for that one first.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from chalicelib.retrain.launchers import START_AGAIN
from chalicelib.retrain.launchers.job_folder import End, JobFolder, Order

LOOK_SECONDS = 0.2
PAUSE_SECONDS = 1.0  # before it is started again
NICENESS = 10  # whoever waits for a detection on this machine comes first


class Keeper:
    """Sees one job through.

    Parameters
    ----------
    folder : JobFolder
        Whose ``keeper.lock`` is held.
    order : Order
    """

    def __init__(self, folder: JobFolder, order: Order) -> None:
        self._folder = folder
        self._order = order

    def keep(self) -> None:
        """Have the job trained until it has ended, or until somebody wants it to pause."""
        self._see_the_last_trainer_off()
        while self._folder.end() is None and self._folder.wish() is None:
            try:
                self._judge(self._train())
            except OSError as error:
                self._folder.note_end(End("failed", f"the trainer cannot be started: {error}"))
        if self._folder.wish() == "stop" and self._folder.end() is None:
            self._folder.note_end(End("stopped", "it was asked to stop"))
        if self._folder.end() is not None:
            shutil.rmtree(self._folder.work, ignore_errors=True)

    def _train(self) -> int:
        """Start the trainer, wait for its end, and return its status."""
        state = self._folder.state()
        before = time.monotonic()
        trainer = self._start()
        self._folder.note(replace(state, starts=state.starts + 1, pid=trainer.pid))
        status = self._wait(trainer, before + self._order.max_seconds - state.seconds)
        seconds = state.seconds + time.monotonic() - before
        self._folder.note(replace(state, starts=state.starts + 1, seconds=seconds))
        return status

    def _start(self) -> subprocess.Popen[bytes]:
        """Start the trainer, which holds its lock as long as it lives."""
        lock = self._folder.hold("trainer.lock")
        if lock is None:
            raise RuntimeError("another trainer has begun")
        with lock, (self._folder.path / "trainer.log").open("ab") as log:
            return subprocess.Popen(
                self._order.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder.work,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )

    def _wait(self, trainer: subprocess.Popen[bytes], deadline: float) -> int:
        """Wait for the trainer's end, and bring it about where it is wanted."""
        while (status := _status(trainer, LOOK_SECONDS)) is None:
            if self._folder.wish() or time.monotonic() > deadline:
                trainer.terminate()
                status = _status(trainer, self._order.patience_seconds)
                break
        _signal_group(trainer.pid, signal.SIGKILL)
        return trainer.wait() if status is None else status

    def _judge(self, status: int) -> None:
        """Write down what a trainer's end means; nothing where it is to be started again."""
        state = self._folder.state()
        if status == 0:
            self._folder.note_end(End("ended"))
        elif self._folder.wish():
            return
        elif state.seconds > self._order.max_seconds:
            told = f"it had not ended after {self._order.max_seconds:.0f} s"
            self._folder.note_end(End("failed", told))
        elif not _may_fare_better(status):
            told = self._folder.last_words("trainer.log")
            self._folder.note_end(End("failed", f"{_in_words(status)}; it said: {told}"))
        else:
            self._count_interruption(_in_words(status))

    def _count_interruption(self, how: str) -> None:
        state = self._folder.state()
        counted = replace(state, interruptions=state.interruptions + 1, pid=0)
        self._folder.note(counted)
        if counted.interruptions > self._order.restarts:
            told = f"it was interrupted {counted.interruptions} times, the last time: {how}"
            self._folder.note_end(End("failed", told))
        else:
            time.sleep(PAUSE_SECONDS)

    def _see_the_last_trainer_off(self) -> None:
        """Wait for a trainer whose keeper was killed; nobody will know with what status it ends."""
        pid = self._folder.state().pid
        if not pid:
            return
        if self._outlives(self._order.max_seconds, until_a_wish=True):
            _signal_group(pid, signal.SIGTERM)
            if self._outlives(self._order.patience_seconds):
                _signal_group(pid, signal.SIGKILL)
        self._count_interruption("its keeper was killed too")

    def _outlives(self, seconds: float, *, until_a_wish: bool = False) -> bool:
        """Tell whether a trainer that is not ours still lives after so many seconds."""
        deadline = time.monotonic() + seconds
        while alive := self._folder.is_trained():
            if time.monotonic() > deadline or (until_a_wish and self._folder.wish()):
                break
            time.sleep(LOOK_SECONDS)
        return alive


def _status(trainer: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Return the trainer's status; none: it has not ended within so many seconds."""
    with suppress(subprocess.TimeoutExpired):
        return trainer.wait(seconds)
    return None


def _signal_group(pid: int, number: signal.Signals) -> None:
    """Signal what there is of a trainer, those that load its pictures included."""
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


def _may_fare_better(status: int) -> bool:
    """Tell whether another start may fare better than one that ended with a status."""
    return status < 0 or status in {START_AGAIN, 128 + signal.SIGTERM, 128 + signal.SIGINT}


def _in_words(status: int) -> str:
    if status < 0:
        return f"the trainer was killed by {signal.Signals(-status).name}"
    return f"the trainer ended with status {status}"


def _hear_all_signals() -> None:
    """Undo what a parent may have blocked or ignored: a trainer would inherit that."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def main(argv: list[str]) -> int:
    """Make sure that a folder has a keeper; return the exit status."""
    folder = JobFolder(Path(argv[0]))
    order = folder.order()
    if order is None:
        print(f"nothing is to be trained in {folder.path}", file=sys.stderr)
        return 2
    lock = folder.hold("keeper.lock")
    if lock is None or os.fork():
        return 0
    os.setsid()
    os.nice(NICENESS)
    _hear_all_signals()
    with lock:
        Keeper(folder, order).keep()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
