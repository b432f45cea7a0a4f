"""Reading images out of a request: raw bytes, a form with files, or base64 in JSON."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field as FormField
from python_multipart.multipart import File, FormParser, parse_options_header

from chalicelib.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from chalicelib.settings import Settings

IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/bmp")
UNTYPED = "application/octet-stream"
RAW_TYPES = (*IMAGE_TYPES, UNTYPED)
ALIASES = {
    "": UNTYPED,
    "application/x-www-form-urlencoded": UNTYPED,  # what curl says where it is told nothing
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-bmp": "image/bmp",
    "image/x-ms-bmp": "image/bmp",
}
FORM_TYPE = "multipart/form-data"
JSON_TYPE = "application/json"
HINT = "send one image as its own bytes, several as multipart/form-data, or base64 in JSON"

# How many images a call may carry, where the service is not set otherwise.
COUNT: dict[str, JsonValue] = {
    "minItems": 1,
    "maxItems": Settings.model_fields["max_images_per_call"].default,
}
IN_MEMORY = {"MAX_MEMORY_FILE_SIZE": float("inf"), "MAX_HEADER_COUNT": 16}
IMAGE_FIELDS = {b"image", b"images", b"file", b"files"}

Base64 = Annotated[
    str,
    Field(min_length=1, json_schema_extra={"contentEncoding": "base64", "format": "byte"}),
]


@dataclass(frozen=True)
class NamedImage:
    """Image bytes and what the caller calls them."""

    name: str
    data: bytes


class ImagePart(BaseModel):
    """One of several images."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field("", max_length=255, description="comes back in the answer")
    data: Base64 = Field(description="the image file, base64")


class OneImage(BaseModel):
    """One image, base64."""

    model_config = ConfigDict(extra="forbid")

    image: Base64 = Field(description="an image file")


class SeveralImages(BaseModel):
    """Several images, base64."""

    model_config = ConfigDict(extra="forbid")

    images: list[ImagePart] = Field(json_schema_extra=COUNT)


class ImagesBody(BaseModel):
    """Either ``OneImage`` or ``SeveralImages``, in one model, which names a fault more plainly."""

    model_config = ConfigDict(extra="forbid")

    image: Base64 | None = None
    images: list[ImagePart] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.image is None) == (self.images is None):
            raise ValueError("give either 'image' or 'images'")
        return self

    def named(self) -> list[NamedImage]:
        """Return the images, decoded.

        Raises
        ------
        InvalidRequest
            One of them is not base64.
        """
        if self.image is not None:
            return [NamedImage("", _from_base64(self.image, "image"))]
        return [
            NamedImage(part.name or str(index), _from_base64(part.data, f"images.{index}.data"))
            for index, part in enumerate(self.images or [])
        ]


def _from_base64(text: str, where: str) -> bytes:
    """Decode base64, which may be broken into lines or stand in a ``data:`` URL."""
    kind, mark, after = text.partition(";base64,")
    encoded = after if mark and kind.startswith("data:") else text
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"body.{where} is not base64: {error}") from None


def form_images(content_type: str, body: bytes, most: int) -> list[NamedImage]:
    """Return the files of a form, in order, whatever their fields are called.

    Parameters
    ----------
    content_type : str
        With its boundary.
    body : bytes
    most : int
        How many files are allowed.

    Raises
    ------
    InvalidRequest
        The form cannot be read, breaks off, holds no file, or a field that is none.
    PayloadTooLarge
        It holds too many.
    """
    reader = _FormReader(most)
    _, parameters = parse_options_header(content_type.encode("latin-1", "replace"))
    try:
        parser = FormParser(
            FORM_TYPE,
            reader.take_field,
            reader.take_file,
            reader.end,
            boundary=parameters.get(b"boundary"),
            config=IN_MEMORY,
        )
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise InvalidRequest(f"the form cannot be read: {error}") from None
    if not reader.ended:
        raise InvalidRequest("the form breaks off: its last boundary is missing")
    if not reader.found:
        raise InvalidRequest("the form holds no file: curl -F image=@photo.jpg sends one")
    return reader.found


class _FormReader:
    """Keeps the images that a form's parser comes across."""

    def __init__(self, most: int) -> None:
        self.found: list[NamedImage] = []
        self.ended = False
        self._most = most

    def take_file(self, file: File) -> None:
        file.file_object.seek(0)
        self._take(file.file_name or b"", file.file_object.read())
        file.close()

    def take_field(self, field: FormField) -> None:
        """Some clients send bytes without a file name; under an image's name they are one."""
        if field.field_name not in IMAGE_FIELDS:
            name = (field.field_name or b"").decode("utf-8", "replace")
            raise InvalidRequest(
                f"the form's field {name!r} holds no file: send images as files, and options such "
                "as confidence in the query"
            )
        self._take(b"", field.value or b"")

    def end(self) -> None:
        self.ended = True

    def _take(self, name: bytes, data: bytes) -> None:
        check_count(len(self.found) + 1, self._most)
        told = name.decode("utf-8", "replace") or str(len(self.found))
        self.found.append(NamedImage(told, data))


def check_count(count: int, most: int) -> None:
    """Refuse more images than a call may carry.

    Raises
    ------
    PayloadTooLarge
    """
    if count > most:
        raise PayloadTooLarge(f"at most {most} images are allowed in one call")


def unsupported(media_type: str) -> UnsupportedMediaType:
    """Return the error for a body of a type that we do not read."""
    return UnsupportedMediaType(f"cannot read {media_type!r}: {HINT} (Content-Type: image/jpeg, …)")
