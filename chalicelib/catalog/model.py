"""What the store bucket says of a model: `model.yaml`, and `metrics.json` of each version."""

from __future__ import annotations

from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from chalicelib.catalog.visibility import Visibility
from chalicelib.errors import InvalidModel
from chalicelib.moment import Moment

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"

ModelName = Annotated[
    str, Field(pattern=NAME_PATTERN, description="name of a model", examples=["scratch"])
]
# Beyond its own errors, PyYAML lets these out of malformed scalars, such as `!!int ""`.
YAML_FAULTS = (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, RecursionError)
LARGEST_FILE = 1024 * 1024

Share = Annotated[float, Field(ge=0, le=1)]


class ModelFile(BaseModel):
    """`model.yaml`: the serving truth about a model."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: ModelName
    names: tuple[str, ...] = Field(min_length=1, description="classes by id")
    nc: int = Field(ge=1, description="how many classes")
    live_version: int | None = Field(default=None, ge=1)
    training_set_size: int = Field(0, ge=0)
    validation_set_size: int = Field(0, ge=0)
    validation_APs: tuple[Share | None, ...] = Field(  # noqa: N815 - the file's own spelling
        (), description="AP at IoU 0.5 by class id; null where there was no validation box"
    )
    promoted_at: Moment | None = None
    promoted_by: str | None = None
    promoted_why: str | None = None
    replaced: int | None = Field(default=None, description="the version that served until then")
    served_before: tuple[int, ...] = Field(
        default=(), description="versions to fall back on, the last one first to be taken back"
    )
    visibility: Visibility = Field(
        default=Visibility.PRIVATE, description="who may be shown the photos of its contributors"
    )
    visibility_changed_at: Moment | None = None
    visibility_changed_by: str | None = None

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        if self.nc != len(self.names):
            raise ValueError(f"nc is {self.nc}, but names has {len(self.names)}")
        if len(self.validation_APs) > self.nc:
            raise ValueError(f"validation_APs has {len(self.validation_APs)} of {self.nc} classes")
        return self

    def with_visibility_of(self, other: ModelFile | None) -> ModelFile:
        """Return this file with another's visibility, and who set it when; None: unchanged."""
        if other is None:
            return self
        fields = {"visibility", "visibility_changed_at", "visibility_changed_by"}
        return self.model_copy(update={name: getattr(other, name) for name in fields})

    @classmethod
    def parse(cls, text: bytes, origin: str) -> Self:
        """Read the file.

        Raises
        ------
        InvalidModel
            It is not such a file; ``origin`` and the first fault are named.
        """
        if len(text) > LARGEST_FILE:
            raise InvalidModel(f"{origin}: it has {len(text)} bytes, which no such file has")
        try:
            return cls.model_validate(yaml.safe_load(text))
        except (*YAML_FAULTS, TypeError, ValueError) as error:
            raise InvalidModel(f"{origin}: {_first_fault(error)}") from error

    def to_yaml(self) -> bytes:
        """Return the file's text."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False).encode()


class ClassMetrics(BaseModel):
    """How well a version finds one class on its validation images."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    class_id: int = Field(ge=0)
    class_name: str
    ap50: Share | None = Field(None, alias="AP50")
    ap50_95: Share | None = Field(None, alias="AP50-95")
    boxes: int | None = Field(None, ge=0, description="that its validation images have")


class VersionMetrics(BaseModel):
    """`metrics.json`: what the training that made a version measured."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="ignore")

    map50: Share | None = Field(None, alias="mAP50")
    map50_95: Share | None = Field(None, alias="mAP50-95")
    per_class: tuple[ClassMetrics, ...] = ()
    training_set_size: int = Field(0, ge=0)
    validation_set_size: int = Field(0, ge=0)
    precision: Share | None = Field(None, description="where F1 is highest, mean of the classes")
    recall: Share | None = None
    f1: Share | None = None
    confidence: Share | None = Field(None, description="at which F1 is highest")
    ms_per_image: float | None = Field(None, ge=0, description="without decoding the picture")
    size_bytes: int | None = Field(None, ge=0, alias="bytes", description="of model.onnx")

    @classmethod
    def parse(cls, text: bytes, origin: str) -> Self:
        """Read the file.

        Raises
        ------
        InvalidModel
            It is not such a file.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InvalidModel(f"{origin}: {_first_fault(error)}") from error

    def average_precisions(self, classes: int) -> tuple[float | None, ...]:
        """Return AP at IoU 0.5 by class id."""
        known = {row.class_id: row.ap50 for row in self.per_class}
        return tuple(known.get(class_id) for class_id in range(classes))


class LiveModel(BaseModel):
    """A model with a version that serves."""

    model_config = ConfigDict(frozen=True)

    file: ModelFile
    version: int

    @property
    def onnx_key(self) -> str:
        """The store key of the serving weights."""
        return version_key(self.file.name, self.version, "model.onnx")


def model_key(name: str) -> str:
    """Return the store key of a model's `model.yaml`."""
    return f"models/{name}/model.yaml"


def pending_key(name: str) -> str:
    """Return the store key of the `model.yaml` of a model that has no version yet."""
    return f"pending_models/{name}/model.yaml"


def version_key(name: str, version: int, file: str) -> str:
    """Return the store key of one of a version's files."""
    return f"models/{name}/versions/{version}/{file}"


def _first_fault(error: Any) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        return f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}"
    return str(error)
