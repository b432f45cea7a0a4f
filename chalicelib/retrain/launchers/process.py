"""Trains on this machine: the default of `make run`.

Every job has a folder in the stack's own (`job_folder.py`) and a process that keeps its trainer
going (`keeper.py`). Both outlive whoever launched them; a job whose keeper was killed, or that was
paused, is taken up again by the next look at it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from chalicelib.errors import ConfigurationError, Unavailable
from chalicelib.retrain.launchers import Launch, Status
from chalicelib.retrain.launchers.job_folder import JobFolder, Order
from chalicelib.settings import Settings

ROOT = Path(__file__).parents[3]
ENTRY_POINT = ROOT / "sagemaker/training/run_job.py"
LOOK_SECONDS = 0.05
START_SECONDS = 20
PATIENCE_SECONDS = 15.0
DEFAULTS = Settings.model_fields  # of what is set to nothing, as a shell's `SIGHTLOOP_HOME=` does


class ProcessLauncher:
    """Has jobs trained by processes of this machine.

    Parameters
    ----------
    home : Path
        Below which the jobs' folders are.
    command : sequence of str
        Starts the trainer; ``--job`` and the job's id are added.
    restarts : int
        How often a trainer may be interrupted before its job is given up.
    patience_seconds : float
        For which a trainer that was asked to end may go on, to put its things away.
    """

    name = "process"

    def __init__(
        self,
        home: Path,
        command: Sequence[str],
        restarts: int,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._home = home
        self._command = tuple(command)
        self._restarts = restarts
        self._patience_seconds = patience_seconds

    def launch(self, job: Launch) -> str:
        """Start a job, or find that it was started before; return its id.

        Raises
        ------
        ConfigurationError
            There is no Python that can train, or nowhere to work; the message says what to do.
        Unavailable
            This machine could not start a process.
        """
        self._require_python()
        folder = self._folder(str(job.job_id))
        command = (*self._command, "--job", str(job.job_id))
        given = (job.max_seconds, self._restarts, self._patience_seconds)
        folder.begin(Order(command, *given))
        self._take_up(folder)
        return str(job.job_id)

    def status(self, external_id: str) -> Status:
        """Return what became of a job; one that nobody keeps any more is taken up again.

        Raises
        ------
        Unavailable
            This machine could not start a process.
        """
        folder = self._folder(external_id)
        if folder.order() is None:
            return Status("gone", f"there is no {folder.path}")
        self._take_up(folder)
        if end := folder.end():
            return Status(end.state, end.detail)
        return Status("running", _in_words(folder.state().interruptions))

    def stop(self, external_id: str) -> None:
        """Have a job stop soon; nothing where it has ended or is not known.

        Raises
        ------
        Unavailable
            This machine could not start a process.
        """
        folder = self._folder(external_id)
        if folder.order() is not None and folder.end() is None:
            folder.ask_to_stop()
            self._take_up(folder)  # where no keeper lives, one has to see the trainer off

    def resume_all(self) -> None:
        """Take up all that was paused or interrupted.

        Raises
        ------
        Unavailable
            This machine could not start a process.
        """
        for folder in self._unfinished():
            self._take_up(folder)

    def pause_all(self, seconds: float) -> None:
        """Have all trainings pause, and wait until they do; they go on when they are looked at.

        Parameters
        ----------
        seconds : float
            For which to wait at most.
        """
        paused = self._unfinished()
        for folder in paused:
            folder.ask_to_pause()
        deadline = time.monotonic() + seconds
        while any(folder.is_kept() for folder in paused) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)

    def _unfinished(self) -> list[JobFolder]:
        folders = [JobFolder(file.parent) for file in self._home.glob("training/*/job.json")]
        return [folder for folder in folders if folder.end() is None]

    def _folder(self, external_id: str) -> JobFolder:
        return JobFolder(self._home / "training" / str(UUID(external_id)))

    def _require_python(self) -> None:
        python = self._command[0]
        if not os.access(python, os.X_OK):
            raise ConfigurationError(
                f"there is no Python that can train at {python}: run `make training`, or name one "
                "that has what requirements-training.txt lists with SIGHTLOOP_TRAINING_PYTHON"
            )

    def _take_up(self, folder: JobFolder) -> None:
        """Make sure that somebody keeps a job that has not ended."""
        folder.ask_to_go_on()
        if folder.end() is not None or folder.is_kept():
            return
        keeper = [sys.executable, "-m", "chalicelib.retrain.launchers.keeper", str(folder.path)]
        with (folder.path / "keeper.log").open("ab") as log:
            try:
                subprocess.run(
                    keeper,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=ROOT,
                    start_new_session=True,  # from its first moment nobody's group takes it along
                    timeout=START_SECONDS,
                    check=True,
                )
            except (subprocess.SubprocessError, OSError) as error:
                told = folder.last_words("keeper.log")
                raise Unavailable(
                    f"no process could be started in {folder.path}: {error}; it said: {told}"
                ) from error


def _in_words(interruptions: int) -> str:
    if not interruptions:
        return ""
    return "interrupted once" if interruptions == 1 else f"interrupted {interruptions} times"


def of_settings(settings: Settings) -> ProcessLauncher:
    """Return the launcher of this machine; what the settings name is below the checkout."""
    python = ROOT / (settings.training_python or DEFAULTS["training_python"].default)
    home = ROOT / (settings.home or DEFAULTS["home"].default)
    return ProcessLauncher(home, [str(python), str(ENTRY_POINT)], settings.training_restarts)
