"""`/v1/models/{model}/dataset…` and `…/datasets…`, of models that serve and of pending ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from chalice.app import Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from chalicelib.catalog.model import ModelName
from chalicelib.errors import (
    DatabaseUnavailable,
    DatasetVersionNotFound,
    ImageNotFound,
    ModelNotFound,
    ModelUnavailable,
    NotFound,
    QueueUnavailable,
    StorageUnavailable,
)
from chalicelib.labels.datasets.shown import (
    ClusterAnswer,
    ClusterPage,
    CutAnswer,
    DatasetAnswer,
    HistoryAnswer,
    ImageAnswer,
    ImageLinks,
    ImagePage,
    LabelAnswer,
    ReleaseAnswer,
    ReleaseBody,
    SideName,
    VersionAnswer,
    VersionLinks,
    VersionList,
)
from chalicelib.labels.transfers.polling import ASK_AGAIN_SECONDS, AWAITED, TransferId
from chalicelib.labels.transfers.records import Kind
from chalicelib.web.api import Api, Media, base_path, json_response
from chalicelib.web.identity import operator
from chalicelib.wiring import services

if TYPE_CHECKING:
    from chalicelib.labels.datasets.images import DatasetImage
    from chalicelib.labels.datasets.versions import DatasetVersion
    from chalicelib.labels.transfers.records import Transfer

api = Api(__name__, tag="datasets")

LINK_SECONDS = 900
NEWEST_VERSIONS = 100
CUT_AT_ONCE = 5_000  # images; so many take about a tenth of a second
LAST_ID = 2**63 - 1
Sha256 = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{64}$"),
    Field(description="of the image, or the version's name"),
]
UNANSWERED = (ModelNotFound, ModelUnavailable, StorageUnavailable, DatabaseUnavailable)


@dataclass(frozen=True)
class _Model:
    """A model or a pending one."""

    name: str
    class_names: tuple[str, ...]


class ClusterQuery(BaseModel):
    """Which clusters are asked for."""

    model_config = ConfigDict(extra="forbid")

    leaking: bool = Field(False, description="only those with images on both sides")
    after: int = Field(0, ge=0, le=LAST_ID, description="`next` of the page before")
    limit: int = Field(20, ge=1, le=50, description="clusters a page")


class ImageQuery(BaseModel):
    """Which images are asked for."""

    model_config = ConfigDict(extra="forbid")

    side: SideName | None = Field(None, description="only this side")
    class_id: int | None = Field(
        None, alias="class", ge=0, lt=2**31, description="only images with a box of this class id"
    )
    after: int = Field(0, ge=0, le=LAST_ID, description="`next` of the page before")
    limit: int = Field(50, ge=1, le=100, description="images a page")


@api.route(
    "GET",
    "/v1/models/{model}/dataset",
    "Tell what a dataset is made of",
    {200: DatasetAnswer},
    errors=UNANSWERED,
)
def show_dataset(model: ModelName) -> DatasetAnswer:
    """Return class balance, box sizes, origins and near-duplicates, as they are at this moment."""
    found = _model(model)
    return DatasetAnswer.of(model, found.class_names, services().dataset_facts.of(model))


@api.route(
    "GET",
    "/v1/models/{model}/dataset/images",
    "List the images of a dataset",
    {200: ImagePage},
    query=ImageQuery,
    errors=UNANSWERED,
    operators_only=True,
)
def list_dataset_images(model: ModelName, query: ImageQuery) -> ImagePage:
    """Return a page of labelled images, oldest first."""
    found = _model(model)
    images = services().dataset_images.page(
        model, query.side, query.class_id, query.after, query.limit
    )
    last = images[-1].sample_id if len(images) == query.limit else None
    return ImagePage(images=[_shown(image, found) for image in images], next=last)


@api.route(
    "GET",
    "/v1/models/{model}/dataset/images/{sha256}",
    "Show the history of an image",
    {200: HistoryAnswer},
    errors=(*UNANSWERED, ImageNotFound),
    operators_only=True,
)
def show_dataset_image(model: ModelName, sha256: Sha256) -> HistoryAnswer:
    """Return every label that an image ever had: who gave it, when, and what became of it."""
    found = _model(model)
    image, labels = services().dataset_images.one(model, sha256)
    shown = _shown(image, found).model_dump()
    history = [LabelAnswer.of(label, image, found.class_names) for label in labels]
    return HistoryAnswer(**shown, labels=history)


@api.route(
    "POST",
    "/v1/models/{model}/dataset/releases",
    "Release images as control images, or take that back",
    {200: ReleaseAnswer},
    body=ReleaseBody,
    errors=(*UNANSWERED, ImageNotFound),
    operators_only=True,
)
def release_dataset_images(model: ModelName, body: ReleaseBody) -> ReleaseAnswer:
    """Say which images callers with a token may be shown as control images of a private model.

    Who released what, and took it back, is recorded. Tasks that were handed out before a release
    is taken back are closed, but for operators.
    """
    _model(model)
    by = f"operator:{operator(api.request)}"
    changed = services().reviewing.releases.set(model, body.images, released=body.released, by=by)
    return ReleaseAnswer(model=model, released=body.released, changed=changed)


@api.route(
    "GET",
    "/v1/models/{model}/dataset/clusters",
    "List images that look alike",
    {200: ClusterPage},
    query=ClusterQuery,
    errors=UNANSWERED,
    operators_only=True,
)
def list_dataset_clusters(model: ModelName, query: ClusterQuery) -> ClusterPage:
    """Return a page of clusters: images that look alike or were said to belong together."""
    found = _model(model)
    clusters = services().dataset_images.clusters(model, query.leaking, query.after, query.limit)
    last = clusters[-1].cluster_id if len(clusters) == query.limit else None
    shown = [
        ClusterAnswer.of(cluster, [_shown(image, found) for image in cluster.images])
        for cluster in clusters
    ]
    return ClusterPage(clusters=shown, next=last)


@api.route(
    "POST",
    "/v1/models/{model}/datasets",
    "Write a dataset down as a version",
    {
        201: Media({"application/json": VersionAnswer}, headers={"Location": "its path"}),
        200: Media({"application/json": VersionAnswer}, "there is one of the same content"),
        202: Media(
            {"application/json": CutAnswer},
            "it is large, and is being written down",
            headers={"Location": "where to ask how far it is", **AWAITED},
        ),
    },
    errors=(*UNANSWERED, QueueUnavailable),
    operators_only=True,
)
def cut_dataset(model: ModelName) -> Response:
    """Name the dataset as it is at this moment: the same content has the same name for ever.

    One of over 5,000 images is written down by a worker; ask `Location` how far it is.
    """
    found = _model(model)
    by = operator(api.request)
    if services().dataset_versions.images(model) > CUT_AT_ONCE:
        return _cut(services().transfers.ask_for_cut(model, by), 202)
    version, is_new = services().dataset_versions.cut(model, found.class_names, by)
    told = _version(version)
    answer = json_response(told, 201 if is_new else 200)
    answer.headers["Location"] = told.links.self
    return answer


@api.route(
    "GET",
    "/v1/cuts/{cut_id}",
    "Show how far a version is that is being written down",
    {200: Media({"application/json": CutAnswer}, headers=AWAITED)},
    errors=(NotFound, DatabaseUnavailable),
    operators_only=True,
)
def show_cut(cut_id: TransferId) -> Response:
    """Return the state of a version that is being written down and, once it is, where it is."""
    return _cut(services().transfers.find(cut_id, Kind.CUT), 200)


@api.route(
    "GET",
    "/v1/models/{model}/datasets",
    "List the versions of a dataset",
    {200: VersionList},
    errors=UNANSWERED,
    operators_only=True,
)
def list_datasets(model: ModelName) -> VersionList:
    """Return the newest hundred versions, newest first."""
    _model(model)
    versions = services().dataset_versions.newest(model, NEWEST_VERSIONS)
    return VersionList(versions=[_version(version) for version in versions])


@api.route(
    "GET",
    "/v1/models/{model}/datasets/{sha256}",
    "Show a version of a dataset",
    {200: VersionAnswer},
    errors=(*UNANSWERED, DatasetVersionNotFound),
    operators_only=True,
)
def show_dataset_version(model: ModelName, sha256: Sha256) -> VersionAnswer:
    """Return one version with a link to its manifest."""
    _model(model)
    return _version(services().dataset_versions.one(model, sha256))


def _model(name: str) -> _Model:
    """Find a model, be it live or pending."""
    try:
        return _Model(name, services().catalog.get(name).names)
    except ModelNotFound:
        return _Model(name, services().pending_models.get(name).class_names)


def _shown(image: DatasetImage, model: _Model) -> ImageAnswer:
    links = ImageLinks(
        self=f"{base_path(api.request)}/v1/models/{model.name}/dataset/images/{image.sha256}",
        image=services().store.presigned_get(image.source_key, LINK_SECONDS),
    )
    return ImageAnswer.of(image, links)


def _version(version: DatasetVersion) -> VersionAnswer:
    links = VersionLinks(
        self=f"{base_path(api.request)}/v1/models/{version.model}/datasets/{version.sha256}",
        manifest=services().dataset_versions.link(version),
    )
    return VersionAnswer.of(version, links)


def _cut(cut: Transfer, status: int) -> Response:
    told = CutAnswer.of(cut, base_path(api.request))
    answer = json_response(told, status)
    if status == 202:
        answer.headers["Location"] = told.links.self
    if not cut.is_over:
        answer.headers["Retry-After"] = ASK_AGAIN_SECONDS
    return answer
