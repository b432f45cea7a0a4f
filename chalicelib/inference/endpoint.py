"""Detections by a SageMaker endpoint; where it does not answer, this process detects itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import Field, ValidationError

from chalicelib.catalog import Catalog, ModelName, blank_picture
from chalicelib.errors import (
    EndpointUnavailable,
    InvalidImage,
    InvalidLabel,
    InvalidRequest,
    ModelNotFound,
    ModelUnavailable,
    SightloopError,
)
from chalicelib.inference.options import Options
from chalicelib.inference.service import (
    Answer,
    Batch,
    Inference,
    Look,
    decode_timed,
    reference_options,
)
from chalicelib.observability import MetricUnit, correlation_id, logger, metrics
from chalicelib.vision import DetectionOptions, Detections, Timing

LARGEST_BODY = 6 * 1024 * 1024  # bytes that InvokeEndpoint takes
PAUSE_SECONDS = 10.0  # for which an endpoint, or a model of it, that did not answer is left alone
AT_ONCE = 8  # pictures of a call that are under way at a time
LONGEST_ID = 128  # characters of a correlation id; all attributes may have 1,024
PASSED_ON = ("confidence", "iou", "max_detections")
ALL_MODELS = None
OF_THE_MODEL = (ModelNotFound, ModelUnavailable)
BLAMED: tuple[type[SightloopError], ...] = (
    InvalidImage,
    *InvalidImage.__subclasses__(),
    *OF_THE_MODEL,
)


class Asked(Options):
    """What an endpoint is asked, beside the picture: the request's custom attributes."""

    model: ModelName
    version: int | None = Field(
        default=None, ge=1, description="that the caller takes for live; another: look it up anew"
    )
    correlation_id: str | None = Field(default=None, max_length=LONGEST_ID)
    reference: bool | None = Field(
        default=None, description="answer with the boxes at the service's own options as well"
    )

    def to_header(self) -> str:
        """Return the custom attributes.

        >>> Asked(model="scratch", version=2).to_header()
        'confidence=0.25&iou=0.45&max_detections=300&model=scratch&version=2'
        """
        return urlencode(self.model_dump(exclude_none=True))

    @classmethod
    def from_header(cls, text: str) -> Self:
        """Read what ``to_header`` wrote, or somebody by hand: all but the model may be left out.

        Raises
        ------
        InvalidRequest
            An attribute cannot be; the first is named.
        """
        try:
            return cls.model_validate(dict(parse_qsl(text)))
        except ValidationError as error:
            fault = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, fault["loc"]))
            raise InvalidRequest(
                f"custom attribute {where}: {fault['msg']}; such as model=scratch&confidence=0.5"
            ) from error


class Endpoint:
    """One SageMaker endpoint, which runs `sagemaker/serving`.

    Parameters
    ----------
    runtime : boto3 client of ``sagemaker-runtime``
    name : str
    clock : callable, optional
        Monotonic seconds.
    """

    def __init__(
        self, runtime: Any, name: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._runtime = runtime
        self._name = name
        self._clock = clock
        self._silent_until: dict[str | None, float] = {}

    def ask(self, image: bytes, asked: Asked) -> Answer:
        """Have it detect in one picture.

        Once it did not answer, it is not asked for ``PAUSE_SECONDS``: each try may take seconds.
        Where it says that the model is at fault, it is asked for others.

        Raises
        ------
        InvalidImage
            As it says.
        EndpointUnavailable
            It did not answer, just now or a moment ago, or the picture is larger than it takes.
        """
        if len(image) > LARGEST_BODY:
            raise EndpointUnavailable(f"{len(image)} bytes are more than an endpoint takes")
        for silent in (ALL_MODELS, asked.model):
            if self._clock() < self._silent_until.get(silent, 0.0):
                raise EndpointUnavailable(f"{self._name} did not answer a moment ago")
        try:
            return self._invoke(image, asked)
        except OF_THE_MODEL as error:
            self._leave_alone(asked.model)
            raise EndpointUnavailable(f"{self._name} cannot: {error.detail}") from error
        except EndpointUnavailable:
            self._leave_alone(ALL_MODELS)
            raise

    def _leave_alone(self, model: str | None) -> None:
        told = "the endpoint does not answer"
        logger.warning(told, exc_info=True, endpoint=self._name, model=model or "any")
        self._silent_until[model] = self._clock() + PAUSE_SECONDS

    def _invoke(self, image: bytes, asked: Asked) -> Answer:
        try:
            answered = self._runtime.invoke_endpoint(
                EndpointName=self._name,
                ContentType="application/octet-stream",
                Accept="application/json",
                CustomAttributes=asked.to_header(),
                Body=image,
            )
            return _read(answered["Body"].read(), with_reference=bool(asked.reference))
        except (ClientError, BotoCoreError) as error:
            if blamed := _blamed(getattr(error, "response", {})):
                raise blamed from error
            raise EndpointUnavailable(f"asking the endpoint {self._name}: {error}") from error


class EndpointInference(Inference):
    """Detects by an endpoint, and by itself where that is silent: slower, but answered.

    Parameters
    ----------
    endpoint : Endpoint
    catalog, keep, threads
        Of ``Inference``, for the time that the endpoint is silent.
    """

    def __init__(self, endpoint: Endpoint, catalog: Catalog, keep: int, threads: int) -> None:
        super().__init__(catalog, keep, threads)
        self._endpoint = endpoint
        self._answered: dict[str, int] = {}

    def detect(self, model: str, image: bytes, options: DetectionOptions) -> Answer:
        """Detect in one picture.

        Raises
        ------
        ModelNotFound, InvalidImage, ModelUnavailable
            As ``Inference``.
        """
        try:
            return self._endpoint.ask(image, self._asked(model, options))
        except EndpointUnavailable:
            _count()
            return super().detect(model, image, options)

    def look(self, model: str, image: bytes, options: DetectionOptions) -> Look:
        """Detect in one picture and return it too.

        Raises
        ------
        ModelNotFound, InvalidImage, ModelUnavailable
            As ``Inference``.
        """
        asked = self._asked(model, options)
        if reference_options(options):
            asked = asked.model_copy(update={"reference": True})
        decoded = decode_timed(image, options)
        try:
            return Look(self._endpoint.ask(image, asked), decoded.picture)
        except EndpointUnavailable:
            _count()
            return self._look_at(model, self._detector(model), decoded, options)

    def detect_each(self, model: str, images: Sequence[bytes], options: DetectionOptions) -> Batch:
        """Detect in several pictures with one version; a bad picture spoils no other.

        The endpoint looks at several at once. Where another version began to serve in the middle,
        they are looked at again, here.
        """
        asked = self._asked(model, options)
        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                answers = [*pool.map(lambda image: self._ask_or_tell(image, asked), images)]
        except EndpointUnavailable:
            _count()
            return super().detect_each(model, images, options)
        versions = {each.version for each in answers if isinstance(each, Answer)}
        if len(versions) > 1:
            return super().detect_each(model, images, options)
        version = versions.pop() if versions else self._catalog.require(model).version
        return Batch(version, tuple(answers))

    def prove(self, model: str) -> int:
        """Have the endpoint detect in a blank picture, once for each version that goes live.

        Raises
        ------
        SightloopError
            A detection would not succeed, neither there nor here.
        """
        asked = self._asked(model, DetectionOptions())
        if self._answered.get(model) != asked.version:
            try:
                self._answered[model] = self._endpoint.ask(blank_picture(), asked).version
            except EndpointUnavailable:
                return super().prove(model)
        return self._answered[model]

    def _ask_or_tell(self, image: bytes, asked: Asked) -> Answer | InvalidImage:
        try:
            return self._endpoint.ask(image, asked)
        except InvalidImage as error:
            return error

    def _asked(self, model: str, options: DetectionOptions) -> Asked:
        live = self._catalog.require(model)
        chosen: dict[str, Any] = {name: getattr(options, name) for name in PASSED_ON}
        named = correlation_id()[:LONGEST_ID]
        return Asked(model=model, version=live.version, correlation_id=named, **chosen)


def _count() -> None:
    metrics.add_metric("DetectedWithoutEndpoint", MetricUnit.Count, 1)


def _blamed(response: Mapping[str, Any]) -> SightloopError | None:
    """Return what the endpoint says is at fault, out of its problem document: picture or model."""
    try:
        told = json.loads(response["OriginalMessage"])
        return next(kind for kind in BLAMED if kind.type_uri() == told["type"])(told["detail"])
    except (KeyError, TypeError, ValueError, StopIteration):
        return None


def _read(body: bytes, *, with_reference: bool) -> Answer:
    """Read an endpoint's answer.

    Parameters
    ----------
    with_reference : bool
        It must have the boxes at the service's own options.

    Raises
    ------
    EndpointUnavailable
        It is none of `sagemaker/serving`.
    """
    try:
        told = json.loads(body)
        size = (int(told["image"]["width"]), int(told["image"]["height"]))
        names = told["class_names"]
        found = Detections.from_json(told["detections"], names, size)
        reference = None
        if with_reference:
            reference = Detections.from_json(told["reference"], names, size)
        timing = Timing(**told["timing_ms"])
        return Answer(str(told["model"]), int(told["version"]), found, timing, reference)
    except (KeyError, TypeError, ValueError, InvalidLabel) as error:
        raise EndpointUnavailable(f"the endpoint's answer cannot be read: {error!r}") from error
