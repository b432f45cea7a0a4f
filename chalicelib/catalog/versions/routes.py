"""`/v1/models/{model}/versions…` and `…/rollback`: what there is, and which serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.catalog.model import ModelName
from chalicelib.catalog.versions.answers import (
    PromotionAnswer,
    ServingAnswer,
    VersionNumber,
    VersionsAnswer,
    VersionWorth,
    Wish,
)
from chalicelib.errors import (
    Conflict,
    DatabaseUnavailable,
    InvalidModel,
    ModelNotFound,
    ModelUnavailable,
    ModelVersionNotFound,
    StorageUnavailable,
)
from chalicelib.web.api import Api
from chalicelib.web.identity import operator
from chalicelib.wiring import services

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.catalog.promoting import Promotion
    from chalicelib.catalog.version_records import VersionRecord

api = Api(__name__, tag="models")

LONGEST_NUMBER = 10
NO_REASON = "no reason was given"
UNCHANGED = (ModelNotFound, Conflict, DatabaseUnavailable, ModelUnavailable, StorageUnavailable)


@api.route(
    "GET",
    "/v1/models/{model}/versions",
    "List the versions of a model",
    {200: VersionsAnswer},
    errors=(ModelNotFound, ModelUnavailable, DatabaseUnavailable, StorageUnavailable),
)
def list_versions(model: ModelName) -> VersionsAnswer:
    """Return every version with what it measured and where it comes from, and which served when.

    One that waits for its first may have versions too: those that the gate rejected.
    """
    publisher = services().training.publisher
    file = publisher.known(model)  # as it is, not as it was: who decides next has to see that
    measured, records = services().catalog.history(model), _records(model)
    promotions = publisher.promoter.history(model)
    return VersionsAnswer(
        model=model,
        class_names=list(file.names),
        live_version=file.live_version,
        versions=[
            VersionWorth.of(each, each == file.live_version, measured[each], records.get(each))
            for each in sorted(measured, reverse=True)
        ],
        promotions=[PromotionAnswer.of(each) for each in promotions],
    )


@api.route(
    "POST",
    "/v1/models/{model}/versions/{version}/promote",
    "Have a version serve",
    {200: ServingAnswer},
    body=Wish,
    errors=(*UNCHANGED, ModelVersionNotFound),
    operators_only=True,
)
def promote_version(model: ModelName, version: VersionNumber, body: Wish) -> ServingAnswer:
    """Have a version serve, whatever the gate said of it; one that serves already serves on."""
    promote = services().training.publisher.promoter.promote
    by, why = f"operator:{operator(api.request)}", body.why.strip() or NO_REASON
    number = _number(model, version)
    return _serving(model, lambda: promote(model, number, by, why, over=body.over or "any"))


@api.route(
    "POST",
    "/v1/models/{model}/rollback",
    "Have the version before serve again",
    {200: ServingAnswer},
    body=Wish,
    errors=UNCHANGED,
    operators_only=True,
)
def roll_back(model: ModelName, body: Wish) -> ServingAnswer:
    """Have the version serve that served before the present one; repeated, the one before that."""
    rollback = services().training.publisher.promoter.rollback
    by, why = f"operator:{operator(api.request)}", body.why.strip() or NO_REASON
    return _serving(model, lambda: rollback(model, by, why, over=body.over or "any"))


def _number(model: str, version: str) -> int:
    """Read the number in a path."""
    if not (version.isascii() and version.isdigit() and len(version) < LONGEST_NUMBER):
        raise ModelVersionNotFound(f"there is no version {version!r} of a model {model!r}")
    return int(version)


def _serving(model: str, change: Callable[[], Promotion]) -> ServingAnswer:
    """Change which version serves; one that cannot detect is refused, and nothing changes."""
    try:
        made = change()
    except InvalidModel as error:
        raise Conflict(f"that version cannot detect, and was left alone: {error.detail}") from error
    return ServingAnswer(model=model, live_version=made.version, **vars(made))


def _records(model: str) -> dict[int, VersionRecord]:
    """Return what the database knows of versions, by number; nothing without one."""
    if not services().has_database():
        return {}
    from chalicelib.catalog.version_records import VersionRecords  # noqa: PLC0415 - loads the driver

    return {each.version: each for each in VersionRecords(services().database).of(model)}
