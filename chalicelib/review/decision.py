"""What an operator decides about a submission: a value without any machinery, quick to load."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Verdict = Literal["accept", "reject"]


@dataclass(frozen=True)
class Decision:
    """What an operator decides about one submission, as of when they looked at it.

    ``release``: its photo, once accepted, may be a control image for callers with a token.
    """

    submission_id: int
    decision: Verdict
    why: str
    seen: datetime
    release: bool = False
