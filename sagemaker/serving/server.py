"""What runs in a SageMaker endpoint: `GET /ping`, and a picture's boxes by `POST /invocations`.

    python sagemaker/serving/server.py serve
    curl --data-binary @photo.jpg -H 'X-Amzn-SageMaker-Custom-Attributes: model=scratch' \\
        http://127.0.0.1:8080/invocations

The body is an image file; the custom attributes name the model and what may be chosen of a
detection (``chalicelib.inference.endpoint.Asked``). The answer is that of the API, with the model's
``class_names``; a failure is a problem document. Models come from the store bucket of the settings
(``SIGHTLOOP_*``): what is promoted there serves here some seconds later, without a restart.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

if not __package__:  # run as a script: the repository's root is not on the path then
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import uvicorn
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from chalicelib import settings
from chalicelib.catalog import Catalog
from chalicelib.errors import PayloadTooLarge, SightloopError, Unavailable
from chalicelib.inference import Inference
from chalicelib.inference.endpoint import Asked
from chalicelib.observability import bind_correlation_id, logger
from chalicelib.web import problems
from chalicelib.wiring import Services
from sagemaker.serving.follower import Follower

ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
PORT = 8080
LARGEST_BODY = 25_000_000  # bytes, the most that SageMaker passes on
AT_ONCE = 2  # while one is in the network, the next is decoded
MOST_WAITING = 32  # pictures: whoever asks waits some seconds only, and detects itself then
END_SECONDS = 25  # SageMaker kills 30 s after it asked to end


class Server:
    """Answers SageMaker; made once for a process.

    Parameters
    ----------
    inference : Inference
    catalog : Catalog
        The one that ``inference`` asks.
    follower : Follower
    max_pixels : int
        Larger pictures are refused.
    most_waiting : int
        How many pictures may wait for a turn; the next ones are refused at once.
    """

    def __init__(
        self,
        inference: Inference,
        catalog: Catalog,
        follower: Follower,
        max_pixels: int,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._inference = inference
        self._catalog = catalog
        self._follower = follower
        self._max_pixels = max_pixels
        self._most_waiting = most_waiting
        self._turns = CapacityLimiter(AT_ONCE)
        self.app = Starlette(
            routes=[
                Route("/ping", self._ping),
                Route("/invocations", self._invocations, methods=["POST"]),
            ],
            exception_handlers={SightloopError: _problem, Exception: _our_fault},
            lifespan=self._running,
        )

    @asynccontextmanager
    async def _running(self, app: Starlette) -> AsyncIterator[None]:
        self._follower.start()
        yield
        await to_thread.run_sync(self._follower.stop)

    async def _ping(self, request: Request) -> Response:
        return Response(status_code=200 if self._follower.is_ready else 503)

    async def _invocations(self, request: Request) -> Response:
        asked = Asked.from_header(request.headers.get(ATTRIBUTES, ""))
        bind_correlation_id(asked.correlation_id)
        waiting = self._turns.statistics().tasks_waiting
        if not self._turns.available_tokens and waiting >= self._most_waiting:
            raise Unavailable("too many pictures wait already: more instances are wanted")
        image = await _body(request)
        detect = partial(self._detect, image, asked)
        return await to_thread.run_sync(detect, limiter=self._turns)

    def _detect(self, image: bytes, asked: Asked) -> Response:
        if asked.version not in (None, self._catalog.require(asked.model).version):
            self._catalog.forget(asked.model)  # the caller knows of a promotion, or we do
        options = asked.for_detector(self._max_pixels)
        answer = self._inference.detect(asked.model, image, options)
        document = {**answer.to_json(), "class_names": answer.detections.class_names}
        if asked.reference:
            document["reference"] = (answer.reference or answer.detections).to_json()
        return JSONResponse(document)


async def _body(request: Request) -> bytes:
    """Read a picture, up to what SageMaker passes on."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise PayloadTooLarge(f"a picture may have {LARGEST_BODY} bytes here")
    return bytes(body)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, SightloopError)
    if error.status >= 500:
        trace = None if error.retry else error
        logger.warning("a request failed", exc_info=trace, detail=error.detail)
    told = problems.document(error, request.url.path).model_dump(mode="json", exclude_none=True)
    return JSONResponse(told, error.status, media_type=problems.MEDIA_TYPE)


async def _our_fault(request: Request, error: Exception) -> Response:
    logger.error("a request failed", exc_info=error)
    return await _problem(request, SightloopError("something went wrong"))


def build() -> Starlette:
    """Return the application that the settings of this process describe."""
    made = settings.load().model_copy(update={"endpoint": ""})  # it is the endpoint
    services = Services(made)
    catalog, inference = services.catalog, services.inference
    follower = Follower(inference, catalog, made.detector_cache_size)
    return Server(inference, catalog, follower, made.max_pixels).app


def main() -> None:
    """Serve until SIGTERM, and answer what is under way then."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("command", nargs="?", choices=["serve"], help="as SageMaker says it")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=PORT)
    given = parser.parse_args()
    uvicorn.run(
        build(),
        host=given.host,
        port=given.port,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=END_SECONDS,
    )


if __name__ == "__main__":
    main()
