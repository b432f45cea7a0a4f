"""Where trainings run: one small interface, and who implements it.

A launcher has the one entry point in `sagemaker/training/` run for a job, which finds all it needs
in the store bucket. It keeps no state here: what it calls a job is stored in the job's row.

The entry point ends with status 0 once its output is in the store (at once, where it is there
already), with `START_AGAIN` where another start may fare better, and with any other where none
would. A launcher starts it again after `START_AGAIN`, a signal, or the loss of its machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol
from uuid import UUID

if TYPE_CHECKING:
    from chalicelib.settings import Settings

START_AGAIN = 75  # EX_TEMPFAIL of sysexits.h


@dataclass(frozen=True)
class Launch:
    """What a launcher has to know of a job.

    Attributes
    ----------
    job_id : UUID
    model : str
        For names and tags.
    max_seconds : int
        After which it may be stopped.
    """

    job_id: UUID
    model: str
    max_seconds: int


@dataclass(frozen=True)
class Status:
    """What a launcher knows of a job.

    Attributes
    ----------
    state : str
        `waiting` for a machine; `running`, as do those that the launcher takes up again after an
        interruption; `ended` well; `failed` for good; `stopped` because it was asked to; `gone`: it
        is not known there.
    detail : str
        The reason, in words, where there is one.
    """

    state: Literal["waiting", "running", "ended", "failed", "stopped", "gone"]
    detail: str = ""


class Launcher(Protocol):
    """Has jobs trained somewhere."""

    @property
    def name(self) -> str:
        """What the settings call it: `process`, `sagemaker` or `cluster`."""

    def launch(self, job: Launch) -> str:
        """Start a job, or find that it was started before; return what the launcher calls it.

        Raises
        ------
        Unavailable
            Nobody can tell now; to be tried again.
        ConfigurationError
            It cannot work as it is set up; the message says what to do.
        """

    def status(self, external_id: str) -> Status:
        """Return what became of a job.

        Raises
        ------
        Unavailable
        """

    def stop(self, external_id: str) -> None:
        """Have a job stop soon; nothing where it has ended or is not known.

        Raises
        ------
        Unavailable
        """


def make(settings: Settings, client: Callable[[str], Any]) -> Launcher | None:
    """Return the launcher that the settings name; none where they name none.

    Parameters
    ----------
    settings : Settings
    client : callable
        From a service's name to a boto3 client.
    """
    if settings.launcher == "process":
        from chalicelib.retrain.launchers.process import of_settings

        return of_settings(settings)
    if settings.launcher == "sagemaker":
        from chalicelib.retrain.launchers.sagemaker import SageMakerLauncher

        return SageMakerLauncher(client("sagemaker"), settings)
    if settings.launcher == "cluster":
        from chalicelib.retrain.launchers.cluster import of_settings as of_cluster

        return of_cluster(settings, client)
    return None
