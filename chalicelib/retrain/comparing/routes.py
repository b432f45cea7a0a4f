"""`/v1/models/{model}/comparison`: two versions side by side."""

from __future__ import annotations

from chalicelib.catalog.model import ModelName
from chalicelib.errors import (
    DatabaseUnavailable,
    ModelNotFound,
    ModelUnavailable,
    StorageUnavailable,
)
from chalicelib.retrain.comparing.answers import ComparedImage, ComparisonAnswer, VersionsQuery
from chalicelib.web.api import Api
from chalicelib.wiring import services

api = Api(__name__, tag="training")

LINK_SECONDS = 900


@api.route(
    "GET",
    "/v1/models/{model}/comparison",
    "Compare two versions",
    {200: ComparisonAnswer},
    query=VersionsQuery,
    errors=(ModelNotFound, ModelUnavailable, DatabaseUnavailable, StorageUnavailable),
    operators_only=True,
)
def compare_versions(model: ModelName, query: VersionsQuery) -> ComparisonAnswer:
    """Return what both measured, and the validation images on which they differ most now."""
    found = services().training.comparer.compare(model, query.a, query.b)
    link = services().store.presigned_get
    shown = [
        ComparedImage.of(each, link(each.image.source_key, LINK_SECONDS)) for each in found.images
    ]
    return ComparisonAnswer.of(model, found, shown)
