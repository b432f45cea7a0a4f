"""How datasets are shown over the API: the shapes of the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from chalicelib.labels.datasets.facts import Facts, SideFacts
from chalicelib.labels.datasets.images import Cluster, DatasetImage, PastLabel, Why
from chalicelib.labels.datasets.versions import DatasetVersion
from chalicelib.labels.transfers.records import Transfer
from chalicelib.moment import Moment

SideName = Literal["train", "valid"]
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


class ClassCount(BaseModel):
    """How much of one class is in one side."""

    class_id: int = Field(examples=[0])
    class_name: str = Field(examples=["scratch"])
    images: int = Field(description="with at least one box of it", examples=[120])
    boxes: int = Field(examples=[301])


class BoxSizes(BaseModel):
    """Boxes by their area in pixels, as COCO parts them."""

    small: int = Field(description="below 32 x 32", examples=[12])
    medium: int = Field(examples=[201])
    large: int = Field(description="from 96 x 96", examples=[88])


class SideAnswer(BaseModel):
    """One side of a dataset."""

    images: int = Field(description="that have a label", examples=[412])
    without_boxes: int = Field(description="whose label says: nothing here", examples=[9])
    boxes: int = Field(examples=[790])
    classes: list[ClassCount] = Field(description="by class id")
    box_sizes: BoxSizes
    box_shares: list[int] = Field(
        description="boxes by the root of the share of the image that they cover: below 1 %, 2, 5, "
        "10, 20, 30, 50, and from there on",
        examples=[[0, 2, 40, 210, 300, 150, 70, 18]],
    )
    origins: dict[str, int] = Field(
        description="images by where their label came from", examples=[{"import": 400}]
    )
    labels: dict[str, int] = Field(
        description="all labels that there ever were, by origin", examples=[{"import": 430}]
    )
    withdrawn: dict[str, int] = Field(
        description="labels that were taken back, by why", examples=[{"replaced": 18}]
    )

    @classmethod
    def of(cls, side: SideFacts, class_names: Sequence[str]) -> Self:
        """Name the classes; those that the model does not have (any more) are shown too."""
        names = {**{id_: f"class {id_}" for id_ in side.boxes_of}, **dict(enumerate(class_names))}
        return cls(
            images=side.images,
            without_boxes=side.empty,
            boxes=side.boxes,
            classes=[
                ClassCount(
                    class_id=class_id,
                    class_name=name,
                    images=side.images_of.get(class_id, 0),
                    boxes=side.boxes_of.get(class_id, 0),
                )
                for class_id, name in sorted(names.items())
            ],
            box_sizes=BoxSizes(**side.boxes_by_size),
            box_shares=list(side.boxes_by_share),
            origins=dict(side.images_by_origin),
            labels=dict(side.labels),
            withdrawn=dict(side.withdrawn),
        )


class NearDuplicates(BaseModel):
    """Images that look alike or were said to belong together."""

    clusters: int = Field(description="groups of two images or more", examples=[31])
    images: int = Field(description="in them", examples=[84])
    leaking: int = Field(
        description="validation images of which the like is in training: left out of versions",
        examples=[0],
    )


class DatasetAnswer(BaseModel):
    """What a dataset is made of."""

    model: str = Field(examples=["scratch"])
    class_names: list[str] = Field(description="by class id", examples=[["scratch"]])
    revision: int = Field(description="rises with every change; 0: no label yet", examples=[5120])
    changed_at: Moment | None
    training: SideAnswer
    validation: SideAnswer
    near_duplicates: NearDuplicates

    @classmethod
    def of(cls, model: str, class_names: Sequence[str], facts: Facts) -> Self:
        """Show the facts."""
        return cls(
            model=model,
            class_names=list(class_names),
            revision=facts.revision,
            changed_at=facts.changed_at,
            training=SideAnswer.of(facts.train, class_names),
            validation=SideAnswer.of(facts.valid, class_names),
            near_duplicates=NearDuplicates(
                clusters=facts.clusters, images=facts.clustered, leaking=facts.leaking
            ),
        )


class ImageLinks(BaseModel):
    """Where to go on."""

    self: str = Field(description="its history")
    image: str = Field(description="the picture itself; good for a quarter of an hour")


class ImageAnswer(BaseModel):
    """An image of a dataset."""

    model_config = ConfigDict(from_attributes=True)

    sha256: str = Field(examples=[SHA256])
    side: SideName
    width: int = Field(examples=[450])
    height: int = Field(examples=[300])
    boxes: int | None = Field(description="of its present label; null: it has none", examples=[2])
    origin: str | None = Field(description="of that label", examples=["submission"])
    labelled_at: Moment | None
    leaking: bool = Field(description="for validation, while its like is in training")
    visibility: Literal["private", "members", "public"] = Field(
        description="under which its senders sent it, the narrowest"
    )
    released_at: Moment | None = Field(
        description="since when callers with a token may be shown it as a control image"
    )
    released_by: str | None
    links: ImageLinks

    @classmethod
    def of(cls, image: DatasetImage, links: ImageLinks) -> Self:
        """Show an image."""
        return cls.model_validate({**vars(image), "links": links})


class ImagePage(BaseModel):
    """Images in the order in which they came."""

    images: list[ImageAnswer]
    next: int | None = Field(description="send it as `after` for the next page; null: that is all")


class Box(BaseModel):
    """Where something is, in pixels of the upright image."""

    x1: float = Field(examples=[182.1])
    y1: float = Field(examples=[85.4])
    x2: float = Field(examples=[258.0])
    y2: float = Field(examples=[227.2])


class LabelledBox(BaseModel):
    """What is there, and where."""

    class_id: int = Field(examples=[0])
    class_name: str = Field(examples=["scratch"])
    box: Box


class Term(BaseModel):
    """From which revision until which a label was that of its image."""

    began: int = Field(examples=[5120])
    ended: int | None = Field(description="null: it still is")


class LabelAnswer(BaseModel):
    """What somebody said is on an image, and what became of it."""

    label_id: int = Field(examples=[77])
    origin: str = Field(examples=["submission"])
    user: str | None = Field(description="who said it", examples=["user:ann"])
    submission_id: int | None
    import_id: str | None
    created_at: Moment
    current: bool = Field(description="it is the label of its image now")
    withdrawn_at: Moment | None
    withdrawn_why: Why | None
    terms: list[Term]
    boxes: list[LabelledBox]

    @classmethod
    def of(cls, label: PastLabel, image: DatasetImage, class_names: Sequence[str]) -> Self:
        """Show a label, its boxes in pixels."""
        return cls(
            label_id=label.label_id,
            origin=label.origin,
            user=label.user_address,
            submission_id=label.request_id,
            import_id=label.import_id,
            created_at=label.created_at,
            current=label.is_current,
            withdrawn_at=label.withdrawn_at,
            withdrawn_why=label.withdrawn_why,
            terms=[Term(began=began or 0, ended=ended) for began, ended in label.terms],
            boxes=_boxes(label.yolo, image, dict(enumerate(class_names))),
        )


class HistoryAnswer(ImageAnswer):
    """An image with all labels that it ever had, newest first."""

    labels: list[LabelAnswer]


class ClusterAnswer(BaseModel):
    """Images that look alike or were said to belong together."""

    cluster_id: int = Field(examples=[12])
    training: int = Field(description="images, with a label or without", examples=[3])
    validation: int = Field(examples=[0])
    images: list[ImageAnswer] = Field(description="some of them")

    @classmethod
    def of(cls, cluster: Cluster, images: list[ImageAnswer]) -> Self:
        """Show a cluster."""
        return cls(
            cluster_id=cluster.cluster_id,
            training=cluster.train,
            validation=cluster.valid,
            images=images,
        )


class ClusterPage(BaseModel):
    """Clusters of images that look alike, oldest first."""

    clusters: list[ClusterAnswer]
    next: int | None = Field(description="send it as `after` for the next page; null: that is all")


class ReleaseBody(BaseModel):
    """Images to release as control images, or to take back."""

    model_config = ConfigDict(extra="forbid")

    images: list[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", examples=[SHA256])]] = Field(
        min_length=1, max_length=1_000, description="by sha256"
    )
    released: bool = Field(True, strict=True, description="false: take the release back")


class ReleaseAnswer(BaseModel):
    """How many releases changed."""

    model: str = Field(examples=["scratch"])
    released: bool
    changed: int = Field(description="of the images; the others were so before")


class VersionLinks(BaseModel):
    """Where to go on."""

    self: str
    manifest: str = Field(description="good for a quarter of an hour; gzip over JSON Lines")


class VersionAnswer(BaseModel):
    """A dataset as it was at one moment."""

    model: str = Field(examples=["scratch"])
    sha256: str = Field(description="its name: of the manifest, unpacked", examples=[SHA256])
    revision: int = Field(description="of the dataset when it was written down", examples=[5120])
    training: int = Field(description="images", examples=[412])
    validation: int = Field(description="images", examples=[103])
    leaking: int = Field(description="of validation, not to be measured on", examples=[0])
    boxes: int = Field(examples=[988])
    bytes: int = Field(description="of the manifest, unpacked", examples=[131_072])
    created_at: Moment
    links: VersionLinks

    @classmethod
    def of(cls, version: DatasetVersion, links: VersionLinks) -> Self:
        """Show a version."""
        told: Mapping[str, object] = vars(version)
        return cls.model_validate(
            {**told, "training": version.train, "validation": version.valid, "links": links}
        )


class CutLinks(BaseModel):
    """Where to go on."""

    self: str
    version: str | None = Field(description="what was written down, once done")


class CutAnswer(BaseModel):
    """A version that is being written down."""

    cut_id: str
    model: str
    state: Literal["queued", "building", "done", "failed"]
    sha256: str | None = Field(description="the version's name, once done")
    is_new: bool | None = Field(description="whether no version of the same content was there")
    problem: str | None = Field(description="why it failed")
    created_at: Moment
    updated_at: Moment
    links: CutLinks

    @classmethod
    def of(cls, cut: Transfer, base: str) -> Self:
        """Show how far a cut is; paths follow on the base."""
        sha256 = cut.found.get("sha256")
        version = f"{base}/v1/models/{cut.model}/datasets/{sha256}" if sha256 else None
        fields = ("model", "state", "problem", "created_at", "updated_at")
        return cls.model_validate(
            {
                "sha256": sha256,
                "is_new": cut.found.get("is_new"),
                **{name: getattr(cut, name) for name in fields},
                "cut_id": cut.transfer_id,
                "links": CutLinks(self=f"{base}/v1/cuts/{cut.transfer_id}", version=version),
            }
        )


class VersionList(BaseModel):
    """The newest versions of a dataset, newest first."""

    versions: list[VersionAnswer]


def _boxes(yolo: str, image: DatasetImage, names: Mapping[int, str]) -> list[LabelledBox]:
    found = []
    for line in yolo.splitlines():
        class_id, x, y, width, height = (float(part) for part in line.split())
        left, top = (x - width / 2) * image.width, (y - height / 2) * image.height
        box = Box(
            x1=round(left, 2),
            y1=round(top, 2),
            x2=round(left + width * image.width, 2),
            y2=round(top + height * image.height, 2),
        )
        name = names.get(int(class_id), f"class {int(class_id)}")
        found.append(LabelledBox(class_id=int(class_id), class_name=name, box=box))
    return found
