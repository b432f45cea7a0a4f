"""A SageMaker endpoint on this machine: what its container runs, and the API that is before it."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote

from chalicelib.errors import InvalidRequest, PayloadTooLarge
from local.children import Child
from local.handler import StrictHandler
from local.home import HOST, Home
from local.listening import Listening

START_SECONDS = 60
ANSWER_SECONDS = 60  # SageMaker waits as long for a container
LARGEST_BODY = 6 * 1024 * 1024
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
PASSED_ON = ("Content-Type", "Accept", ATTRIBUTES)


class EndpointStandIn:
    """Runs `sagemaker/serving` over the store of this machine, and answers InvokeEndpoint.

    Parameters
    ----------
    home : Home
    name : str
        Of the endpoint.

    Attributes
    ----------
    url : str
        What ``AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME`` has to be.

    Raises
    ------
    LocalError
        The server ends, or is not ready in time.
    """

    def __init__(self, home: Home, name: str) -> None:
        container = f"http://{HOST}:{home.port('endpoint')}"
        address = (HOST, home.port("sagemaker-runtime"))
        self.url = f"http://{HOST}:{address[1]}"
        handler = type("OfEndpoint", (_Runtime,), {"container": container, "endpoint": name})
        command = ["sagemaker/serving/server.py", "serve", "--host", HOST, "--port"]
        self._server = Child(
            home, "endpoint", [sys.executable, *command, container.rpartition(":")[2]]
        )
        try:
            self._server.wait_until(lambda: _answers(f"{container}/ping"), START_SECONDS)
            self._runtime = Listening(address, handler)
        except BaseException:
            self._server.stop()
            raise
        self._runtime.begin()

    def stop(self) -> None:
        """Take no more requests, and let the server end."""
        self._runtime.end()
        self._server.stop()


class _Runtime(StrictHandler):
    """`POST /endpoints/<name>/invocations`, as far as clients can tell SageMaker's."""

    container: str
    endpoint: str

    def do_POST(self) -> None:  # noqa: N802 - the base class asks for this name
        try:
            body = self.read_body(LARGEST_BODY, PayloadTooLarge("the body is too large"))
        except PayloadTooLarge as error:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            self._refuse(status, "ValidationError", error.detail)
            return
        except InvalidRequest as error:
            self._refuse(HTTPStatus.BAD_REQUEST, "ValidationError", error.detail)
            return
        name = unquote(self.path).removeprefix("/endpoints/").removesuffix("/invocations")
        if name != self.endpoint:
            self._refuse(HTTPStatus.BAD_REQUEST, "ValidationError", f"Endpoint {name} not found.")
        else:
            self._pass_on(body)

    def _pass_on(self, body: bytes) -> None:
        headers = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
        asked = urllib.request.Request(f"{self.container}/invocations", body, headers)
        try:
            with urllib.request.urlopen(asked, timeout=ANSWER_SECONDS) as answer:
                self._answer(HTTPStatus.OK, answer.read(), {})
        except urllib.error.HTTPError as error:
            told = error.read().decode(errors="replace")
            self._blame_model(error.code, told)
        except (OSError, HTTPException) as error:
            self._blame_model(500, f"the container did not answer: {error}")

    def _blame_model(self, status: int, told: str) -> None:
        message = f"Received error ({status}) from primary with message: {told}"
        more = {"OriginalStatusCode": status, "OriginalMessage": told}
        self._refuse(HTTPStatus.FAILED_DEPENDENCY, "ModelError", message, **more)

    def _refuse(self, status: HTTPStatus, code: str, message: str, **more: Any) -> None:
        body = json.dumps({"Message": message, **more}).encode()
        self._answer(status, body, {"x-amzn-ErrorType": code})

    def _answer(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        own = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, value in (headers | own).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False
