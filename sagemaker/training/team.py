"""The processes that train together: one alone, or those that ``torchrun`` started.

Of a team's processes each sees one GPU, so that for each it is the first; where there are none they
speak by gloo. The leader alone reports, measures and writes to the store.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

PATIENCE = timedelta(hours=1)  # with a member that is busy, as the leader of a node with its images
VISIBLE = "CUDA_VISIBLE_DEVICES"
VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE")  # by torchrun


@dataclass(frozen=True)
class Team:
    """What a process has to know of those that it trains with.

    Attributes
    ----------
    rank : int
        Which of them it is, from 0.
    local_rank : int
        Which of those on its machine.
    size : int
        How many there are.
    """

    rank: int = 0
    local_rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Tell whether this is the one that speaks for all."""
        return self.rank == 0

    @property
    def leads_its_machine(self) -> bool:
        """Tell whether this is the one that fetches files for its machine."""
        return self.local_rank == 0

    def share[Told](self, told: Told) -> Told:
        """Return what the leader says, at every member; all have to call it."""
        if self.size == 1:
            return told
        from torch import distributed  # noqa: PLC0415 - seconds

        said: list[Any] = [told]
        distributed.broadcast_object_list(said, src=0)
        return said[0]  # type: ignore[no-any-return]

    def meet(self) -> None:
        """Wait until every member is here."""
        self.share(None)


ALONE = Team()


def of_environment() -> Team:
    """Return the team that torchrun made this process a member of, or that of one alone."""
    if "RANK" not in os.environ:
        return ALONE
    return Team(*(int(os.environ[name]) for name in VARIABLES))


@contextmanager
def joined(team: Team) -> Iterator[None]:
    """Have the members of a team connected; to be entered before torch has looked for GPUs.

    Raises
    ------
    RuntimeError
        They do not find each other.
    """
    if "RANK" not in os.environ:
        yield
        return
    _claim_gpu(team)
    import torch  # noqa: PLC0415 - the GPU has to be claimed before
    from torch import distributed  # noqa: PLC0415
    from torch.distributed.rendezvous import rendezvous  # noqa: PLC0415

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    distributed.init_process_group(
        backend,
        store=distributed.PrefixStore(_start(), store),
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
    )
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _start() -> str:
    """Return what sets this start's addresses apart from those of the starts before.

    On one machine torchrun (of torch 2.15) keeps one store for all starts, in which the members
    would find the addresses of those that died, and wait for these. On several each start has a
    store of its own (`chalicelib.retrain.launchers.command`), and machines count their starts
    differently.
    """
    alone = os.environ.get("GROUP_WORLD_SIZE", "1") == "1"
    return f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}" if alone else "start"


def _claim_gpu(team: Team) -> None:
    """Let this process see its own GPU only; nothing where it can see none."""
    seen = os.environ.get(VISIBLE)
    if seen is None:
        os.environ[VISIBLE] = str(team.local_rank)
    elif team.local_rank < len(gpus := seen.split(",")):
        os.environ[VISIBLE] = gpus[team.local_rank]
