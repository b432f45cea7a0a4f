"""What the planner thinks of each model, in words, and where that is kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from chalicelib.database import Database

PLANS_MINUTES = 30  # between two looks of the planner
Decision = Literal["launch", "wait", "running"]

KEEP = """
INSERT INTO training_plans AS p
    (model, decision, reason, new_train, new_valid, needs_train, needs_valid, considered_at)
SELECT *, now() FROM unnest(
    %(model)s::text[], %(decision)s::text[], %(reason)s::text[], %(new_train)s::bigint[],
    %(new_valid)s::bigint[], %(needs_train)s::bigint[], %(needs_valid)s::bigint[])
ON CONFLICT (model) DO UPDATE SET
    decision = excluded.decision, reason = excluded.reason,
    new_train = excluded.new_train, new_valid = excluded.new_valid,
    needs_train = excluded.needs_train, needs_valid = excluded.needs_valid,
    considered_at = excluded.considered_at
"""
FORGET = "DELETE FROM training_plans WHERE NOT model = ANY (%(model)s)"
# With the newest job of each: it may have begun, or ended, since that was decided.
PAGE = """
SELECT p.model, p.decision, p.reason, p.new_train, p.new_valid, p.needs_train, p.needs_valid,
       p.considered_at, j.job_id::text, j.state, j.ended_at > p.considered_at
FROM training_plans p LEFT JOIN LATERAL (
    SELECT t.job_id, t.state, t.ended_at FROM training_jobs t
    WHERE t.model = p.model ORDER BY t.created_at DESC LIMIT 1
) j ON true
WHERE p.model > %(after)s AND (%(model)s::text IS NULL OR p.model = %(model)s)
ORDER BY p.model LIMIT %(limit)s
"""
ENDED_SINCE = f"a training has ended since: it is looked at anew within {PLANS_MINUTES} minutes"


@dataclass(frozen=True)
class Plan:
    """What was decided for a model.

    Attributes
    ----------
    decision : str
        `launch`, `wait`, or `running`: it has a job already.
    reason : str
        In words.
    new_train, new_valid : int
        Images that the model has not learnt from; counting stops where it is enough by far.
    needs_train, needs_valid : int
        With how many of them it is trained.
    considered_at : datetime or None
        None: just now.
    """

    model: str
    decision: Decision
    reason: str
    new_train: int
    new_valid: int
    needs_train: int
    needs_valid: int
    considered_at: datetime | None = None


class Plans:
    """The table of plans.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, plans: Iterable[Plan]) -> None:
        """Write down what was decided for every model; what there was of others goes."""
        # In the order of their names, or two planners at once would wait for each other's rows.
        rows_of = sorted((vars(plan) for plan in plans), key=lambda row: str(row["model"]))
        columns = {name: [row[name] for row in rows_of] for name in Plan.__dataclass_fields__}
        with self._database.transaction() as rows:
            rows.execute(FORGET, columns)
            rows.execute(KEEP, columns)

    def page(
        self, model: str | None = None, after: str = "", limit: int | None = None
    ) -> list[Plan]:
        """Return what was decided last, and what became of it since, by model.

        Parameters
        ----------
        model : str, optional
            Only of this one.
        after : str
            Only of models behind this name.
        limit : int, optional
            So many at most.
        """
        with self._database.transaction() as rows:
            rows.execute(PAGE, {"model": model, "after": after, "limit": limit})
            return [_as_it_is(Plan(*row[:-3]), *row[-3:]) for row in rows.fetchall()]


def running(job_id: str, state: str) -> str:
    """Say that a model is being trained."""
    return f"job {job_id} is {state}"


def _as_it_is(plan: Plan, job_id: str | None, state: str, has_ended: bool | None) -> Plan:
    """Return a plan as it is now, by the newest job of its model."""
    if job_id is None or has_ended is False:
        return plan
    if has_ended:
        return replace(plan, decision="wait", reason=ENDED_SINCE)
    return replace(plan, decision="running", reason=running(job_id, state))
