"""How the trainer is started in its container, on SageMaker and on a cluster alike."""

from __future__ import annotations

from uuid import UUID

from chalicelib.errors import ConfigurationError
from chalicelib.settings import Settings

IN_IMAGE = "/opt/sightloop/sagemaker/training"  # as the Dockerfile there has it
ENTRY_POINT = f"{IN_IMAGE}/run_job.py"
RENDEZVOUS_PORT = 29400
JOIN_SECONDS = 900  # a machine may have to be bought first
# Where torchrun goes on with the store of an earlier meeting, whoever joins later waits in vain for
# its address (torch 2.15).
A_STORE_EACH_TIME = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"
LAST_CALL_SECONDS = 60  # for which those that are there wait for the others


def require(value: str, variable: str, what: str) -> None:
    """Refuse to begin without a setting.

    Raises
    ------
    ConfigurationError
        Says which variable has to name what.
    """
    if not value:
        raise ConfigurationError(
            f"{variable} has to name {what}: see 'Where trainings run' in docs/operations.md"
        )


def on_one_machine(job_id: UUID, processes: int) -> list[str]:
    """Return what starts a trainer that needs no other machine; it works in the current folder."""
    job = [ENTRY_POINT, "--job", str(job_id)]
    if processes == 1:
        return ["python", *job]  # whose exit status is the trainer's, which torchrun's is not
    return ["torchrun", "--standalone", f"--nproc-per-node={processes}", *job]


def until_done(restarts: int, command: list[str]) -> list[str]:
    """Return what starts a command again where another start may fare better."""
    return ["sh", f"{IN_IMAGE}/until_done.sh", str(restarts), *command]


def on_each_of(nodes: int, job_id: UUID, settings: Settings, first_host: str) -> list[str]:
    """Return what starts the trainer on each of several machines, numbered by an index.

    They meet at the first, with whoever is there; one that is lost is done without until another
    takes its place, and each such change starts the trainers again behind their checkpoint.

    Parameters
    ----------
    nodes : int
        The most machines.
    job_id : UUID
    settings : Settings
    first_host : str
        The name of the machine with the index 0.
    """
    flags = (
        f"--nnodes=1:{nodes}",
        f"--nproc-per-node={settings.training_processes}",
        f"--max-restarts={settings.training_restarts}",
        f"--rdzv-id={job_id}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={first_host}:{RENDEZVOUS_PORT}",
        '--rdzv-conf="is_host=$is_host,'
        f'join_timeout={JOIN_SECONDS},last_call_timeout={LAST_CALL_SECONDS}"',
    )
    host = '[ "$JOB_COMPLETION_INDEX" = 0 ] && is_host=1 || is_host=0'
    run = f"exec torchrun {' '.join(flags)} {ENTRY_POINT} --job {job_id}"
    return ["sh", "-c", f"{host}; export {A_STORE_EACH_TIME}; {run}"]


def variables(settings: Settings) -> dict[str, str]:
    """Return what a trainer is told of its stage: all else is in the job's order."""
    return {
        "AWS_DEFAULT_REGION": settings.region,
        "SIGHTLOOP_STAGE": settings.stage,
        "SIGHTLOOP_REGION": settings.region,
        "SIGHTLOOP_STORE_BUCKET": settings.store_bucket,
        "SIGHTLOOP_TRAINING_QUEUE": settings.training_queue,
    }
