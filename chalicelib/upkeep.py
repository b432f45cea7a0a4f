"""What is looked after every half hour: steps that do not stop each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chalicelib.errors import SightloopError
from chalicelib.observability import logger

Step = Callable[[], Mapping[str, int]]


def run(steps: Mapping[str, Step]) -> dict[str, int]:
    """Take every step, and return what all of them counted.

    Parameters
    ----------
    steps : mapping
        From a name for the log to what is done. Each counts under names of its own.

    Raises
    ------
    SightloopError
        Of the first step that failed, once all were tried: so the run counts as failed.
    """
    counted: dict[str, int] = {}
    faults: list[SightloopError] = []
    for name, step in steps.items():
        try:
            counted |= step()
        except SightloopError as error:
            logger.exception("a step of the upkeep failed", step=name)
            faults.append(error)
    if faults:
        raise faults[0]
    return counted
