"""`/v1/imports` and `/v1/exports`: whole datasets in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from chalice.app import Response
from pydantic import BaseModel, ConfigDict, Field

from chalicelib.callers import is_operator
from chalicelib.catalog.model import ModelName
from chalicelib.errors import (
    DatabaseUnavailable,
    Forbidden,
    ModelNotFound,
    ModelUnavailable,
    NotFound,
    PayloadTooLarge,
    QueueUnavailable,
    StorageUnavailable,
)
from chalicelib.labels.transfers.polling import ASK_AGAIN_SECONDS, AWAITED, TransferId
from chalicelib.labels.transfers.records import Kind, State
from chalicelib.moment import Moment
from chalicelib.quotas import IMPORT_BYTES, IMPORTS
from chalicelib.web.api import Api, Media, base_path, json_response
from chalicelib.web.identity import caller
from chalicelib.wiring import services

if TYPE_CHECKING:
    from chalicelib.labels.transfers.desk import ImportTicket
    from chalicelib.labels.transfers.records import Transfer

api = Api(__name__, tag="datasets")

Format = Literal["yolo", "coco", "voc", "ground-truth", "csv"]
LARGEST_FORM = 5 * 1024**3  # bytes that S3 takes by a form


class ImportRequest(BaseModel):
    """A ZIP of images and labels that is to be imported."""

    model_config = ConfigDict(extra="forbid")

    format: Format | None = Field(None, description="of the labels; null: as the files tell")
    groups_from_names: bool = Field(
        False,
        description="images whose names tell the same time to the second are of one thing, and "
        "stay on one side of the split",
    )
    release: bool = Field(
        False,
        description="operators only: release the images as control images, which callers with a "
        "token may be shown even where the model is private",
    )
    bytes: Annotated[int, Field(ge=1, le=LARGEST_FORM)] | None = Field(
        None,
        description="size of the ZIP, which the form then takes no more than, and which is all "
        "that it takes of your quota; null: as large as a ZIP may be",
    )


class ImportForm(BaseModel):
    """Send it as multipart/form-data: all fields as they are, then the field `file`, last."""

    url: str
    fields: dict[str, str]
    max_bytes: int = Field(description="a larger file is refused")
    expires_at: Moment


class TransferLinks(BaseModel):
    """Where to go on."""

    self: str


class ImportOffer(BaseModel):
    """An import that waits for its ZIP, and the form to send that with."""

    import_id: str
    model: str
    state: State
    upload: ImportForm
    links: TransferLinks


class ArchiveFault(BaseModel):
    """One thing that is wrong with a ZIP."""

    name: str = Field(description="of the file in it; empty: the ZIP as a whole")
    kind: str = Field(examples=["image without label"])
    detail: str


class Placed(BaseModel):
    """Which side of the split the images of an import are on."""

    training: int
    validation: int
    known: int = Field(description="of both, those that the dataset had already")
    confirmed: int = Field(0, description="images whose settled labels say the same")
    not_taken: int = Field(
        0, description="images that keep their labels, which are settled or somebody else's"
    )
    not_taken_names: list[str] = Field(
        default_factory=list, description="of these, the first 20 by their names in the ZIP"
    )


class ImportAnswer(BaseModel):
    """An import, and how far it is."""

    import_id: str
    model: str
    state: Literal["waiting", "checking", "faulty", "placing", "publishing", "done", "failed"]
    format: str | None = Field(description="of the labels, once the ZIP is open")
    done: int = Field(description="images checked, or published")
    total: int | None = Field(description="of how many; null: not known yet")
    images: int = Field(description="that are sound")
    boxes: int = Field(description="on them")
    placed: Placed | None = Field(description="once they are in the dataset")
    faults: list[ArchiveFault] = Field(description="the first 500; with one, nothing is imported")
    unlisted: int = Field(description="how many faults there are beyond")
    problem: str | None = Field(description="why it failed")
    created_at: Moment
    updated_at: Moment
    links: TransferLinks

    @classmethod
    def of(cls, transfer: Transfer) -> Self:
        """Show how far an import is."""
        nothing: dict[str, Any] = {
            "format": None,
            "images": 0,
            "boxes": 0,
            "faults": [],
            "unlisted": 0,
        }
        known = {"placed": None, **nothing, **transfer.found}
        fields = ("state", "model", "done", "total", "problem", "created_at", "updated_at")
        return cls.model_validate(
            {
                **known,
                **{name: getattr(transfer, name) for name in fields},
                "import_id": transfer.transfer_id,
                "links": TransferLinks(self=_path("imports", transfer)),
            }
        )


class ExportRequest(BaseModel):
    """A dataset that is to be exported as a ZIP."""

    model_config = ConfigDict(extra="forbid")

    format: Format
    images: Literal["included", "links", "none"] = Field(
        "included", description="in the ZIP; as signed links in `links.tsv`; or only the labels"
    )
    revision: Annotated[int, Field(ge=0, lt=2**63)] | None = Field(
        None, description="of the dataset, as it was then; null: as it is now"
    )


class ExportLinks(BaseModel):
    """Where to go on."""

    self: str
    archive: str | None = Field(description="the ZIP, once done; good for an hour")


class ExportAnswer(BaseModel):
    """An export, and how far it is."""

    export_id: str
    model: str
    state: Literal["queued", "building", "done", "failed"]
    format: Format
    images: Literal["included", "links", "none"]
    revision: int | None
    done: int = Field(description="images written")
    total: int | None = Field(description="of how many; null: not known yet")
    bytes: int | None = Field(description="of the ZIP, once done")
    problem: str | None = Field(description="why it failed")
    created_at: Moment
    updated_at: Moment
    links: ExportLinks

    @classmethod
    def of(cls, transfer: Transfer, archive: str | None) -> Self:
        """Show how far an export is."""
        fields = ("state", "model", "done", "total", "problem", "created_at", "updated_at")
        return cls.model_validate(
            {
                "revision": None,
                **transfer.asked,
                **{name: getattr(transfer, name) for name in fields},
                "bytes": transfer.found.get("bytes"),
                "export_id": transfer.transfer_id,
                "links": ExportLinks(self=_path("exports", transfer), archive=archive),
            }
        )


OFFERED: dict[int, Any] = {
    201: Media(
        {"application/json": ImportOffer},
        headers={"Location": "the import's path"},
        links={
            "import": {
                "operationId": "showImport",
                "parameters": {"import_id": "$response.body#/import_id"},
                "description": "Once the ZIP is sent, ask how far it is.",
            }
        },
    )
}
TROUBLE = (ModelNotFound, DatabaseUnavailable, StorageUnavailable)


@api.route(
    "POST",
    "/v1/models/{model}/imports",
    "Import a ZIP into a model's dataset",
    OFFERED,
    body=ImportRequest,
    errors=(*TROUBLE, ModelUnavailable),
    operators_only=True,
    quota=IMPORTS,
)
def offer_import(model: ModelName, body: ImportRequest) -> Response:
    """Make an import and a form to send its ZIP with: all of it is taken, or nothing."""
    services().catalog.get(model)
    return _offered(model, caller(api.request), body)


@api.route(
    "POST",
    "/v1/pending-models/{model}/imports",
    "Import a ZIP into the dataset of a model that has no version yet",
    OFFERED,
    body=ImportRequest,
    errors=(*TROUBLE, Forbidden),
    quota=IMPORTS,
)
def offer_pending_import(model: ModelName, body: ImportRequest) -> Response:
    """Make an import and a form to send its ZIP with, for who asked for the model."""
    user = caller(api.request)
    asked_by = services().pending_models.get(model).requested_by
    if user != asked_by and not is_operator(user):
        raise Forbidden(
            "a ZIP is taken from who asked for the model and from operators: "
            "send images one at a time"
        )
    if body.release and not is_operator(user):
        raise Forbidden("images are released by operators: import them without `release`")
    services().import_senders.check(user)
    return _offered(model, user, body)


@api.route(
    "GET",
    "/v1/imports/{import_id}",
    "Show how far an import is",
    {200: Media({"application/json": ImportAnswer}, headers=AWAITED)},
    errors=(NotFound, DatabaseUnavailable),
)
def show_import(import_id: TransferId) -> Response:
    """Return an import's state, counts, and each fault of its ZIP by name."""
    transfer = services().transfers.find(import_id, Kind.IMPORT)
    answer = json_response(ImportAnswer.of(transfer))
    if not transfer.is_over:
        answer.headers["Retry-After"] = ASK_AGAIN_SECONDS
    return answer


@api.route(
    "POST",
    "/v1/models/{model}/exports",
    "Export a dataset",
    {201: Media({"application/json": ExportAnswer}, headers={"Location": "the export's path"})},
    body=ExportRequest,
    errors=(*TROUBLE, ModelUnavailable, QueueUnavailable),
    operators_only=True,
)
def ask_for_export(model: ModelName, body: ExportRequest) -> Response:
    """Have a ZIP made of the dataset of a model, pending or not."""
    services().pending_models.class_names(model)
    made = services().transfers.ask_for_export(
        model, caller(api.request), body.model_dump(exclude_none=True)
    )
    told = ExportAnswer.of(made, None)
    answer = json_response(told, 201)
    answer.headers["Location"] = told.links.self
    return answer


@api.route(
    "GET",
    "/v1/exports/{export_id}",
    "Show how far an export is",
    {200: Media({"application/json": ExportAnswer}, headers=AWAITED)},
    errors=(NotFound, DatabaseUnavailable, StorageUnavailable),
    operators_only=True,
)
def show_export(export_id: TransferId) -> Response:
    """Return an export's state and, once it is done, a link to its ZIP."""
    transfer = services().transfers.find(export_id, Kind.EXPORT)
    answer = json_response(ExportAnswer.of(transfer, services().transfers.link(transfer)))
    if not transfer.is_over:
        answer.headers["Retry-After"] = ASK_AGAIN_SECONDS
    return answer


def _import(model: str, user: str, body: ImportRequest) -> dict[str, Any]:
    """Return what an import is to do, and under which promise its images are sent."""
    terms = {"visibility": services().visibility.of(model).value}
    if body.release:
        terms["released_by"] = user
    return {**body.model_dump(exclude_none=True, exclude={"release", "bytes"}), **terms}


def _asked(body: ExportRequest) -> dict[str, Any]:
    return body.model_dump(exclude_none=True)


def _offered(model: str, user: str, body: ImportRequest) -> Response:
    most = services().settings.max_import_bytes
    size = most if body.bytes is None else body.bytes
    if size > most:
        raise PayloadTooLarge(f"a ZIP of {size} bytes is not taken: at most {most} are")
    services().quotas.take(IMPORT_BYTES, user, size)
    ticket = services().transfers.offer_import(model, user, _import(model, user, body), size)
    answer = json_response(_offer(ticket), 201)
    answer.headers["Location"] = _path("imports", ticket.transfer)
    return answer


def _offer(ticket: ImportTicket) -> ImportOffer:
    return ImportOffer(
        import_id=ticket.transfer.transfer_id,
        model=ticket.transfer.model,
        state=ticket.transfer.state,
        upload=ImportForm(
            url=ticket.form.url,
            fields=dict(ticket.form.fields),
            max_bytes=ticket.max_bytes,
            expires_at=ticket.expires_at,
        ),
        links=TransferLinks(self=_path("imports", ticket.transfer)),
    )


def _path(collection: str, transfer: Transfer) -> str:
    """Return a transfer's path, below the stage or base path that the caller came by."""
    return f"{base_path(api.request)}/v1/{collection}/{transfer.transfer_id}"
