"""Reading images out of a request: raw bytes, a form with files, or base64 in JSON."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from io import BytesIO
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from python_multipart import parse_form
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import File

from chalicelib.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType

IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/bmp")
RAW_TYPES = (*IMAGE_TYPES, "application/octet-stream")
FORM_TYPE = "multipart/form-data"
JSON_TYPE = "application/json"
HINT = "send one image as its own bytes, several as multipart/form-data, or base64 in JSON"

Base64 = Annotated[str, Field(min_length=1, json_schema_extra={"contentEncoding": "base64"})]


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


class ImagesBody(BaseModel):
    """Either one image or several."""

    model_config = ConfigDict(extra="forbid")

    image: Base64 | None = Field(None, description="one image file, base64")
    images: list[ImagePart] | None = Field(None, min_length=1, description="several")

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
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"body.{where} is not base64: {error}") from None


def form_images(content_type: str, body: bytes, most: int) -> list[NamedImage]:
    """Return the files of a form, in order; other fields are passed over.

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
        The form cannot be read or holds no file.
    PayloadTooLarge
        It holds too many.
    """
    found: list[NamedImage] = []

    def keep(file: File) -> None:
        file.file_object.seek(0)
        name = (file.file_name or b"").decode("utf-8", "replace")
        found.append(NamedImage(name or str(len(found)), file.file_object.read()))
        file.close()

    headers = {"Content-Type": content_type.encode("latin-1", "replace")}
    try:
        parse_form(headers, BytesIO(body), None, keep)
    except (FormParserError, ValueError) as error:
        raise InvalidRequest(f"the form cannot be read: {error}") from None
    if not found:
        raise InvalidRequest("the form holds no file: curl -F image=@photo.jpg sends one")
    check_count(len(found), most)
    return found


def check_count(count: int, most: int) -> None:
    """Refuse more images than a call may carry.

    Raises
    ------
    PayloadTooLarge
    """
    if count > most:
        raise PayloadTooLarge(f"{count} images in one call: at most {most} are allowed")


def unsupported(media_type: str) -> UnsupportedMediaType:
    """Return the error for a body of a type that we do not read."""
    named = repr(media_type) if media_type else "a body without a content type"
    return UnsupportedMediaType(f"cannot read {named}: {HINT} (Content-Type: image/jpeg, …)")
