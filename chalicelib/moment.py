"""The moment that pydantic's models hold: aware, in UTC, and of the standard library alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("give a moment that there is in UTC too") from None


# A moment that pydantic reads has a time zone of its own kind, which kills a process with SIGSEGV
# where it outlives the module datetime at the end (https://github.com/pydantic/pydantic/issues/12867).
Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
