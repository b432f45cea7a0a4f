"""The one-machine stack, assembled: database, stand-in for AWS, HTTP server, dispatcher."""

from __future__ import annotations

import functools
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from local.children import Child
from local.disk import DiskSpace
from local.errors import LocalError
from local.home import HOST, ROOT, Home, listen
from local.postgres import Postgres
from local.standin import REGION, StandIn, credentials
from local.watch import Watch

if TYPE_CHECKING:
    from local.telegram.standin import ChatStandIn

BUNDLED = ROOT / "models"


class Stack:
    """Everything, running; stopped in the opposite order by ``stop``.

    Parameters
    ----------
    path : Path
        The data folder.
    port : int
        Where the page and the API are served.
    host : str, optional
        On which address: 127.0.0.1, or 0.0.0.0 for other devices in the network.

    Raises
    ------
    LocalError
        Something cannot start; what had started is stopped.
    """

    def __init__(self, path: Path, port: int, host: str = HOST) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._running = ExitStack()
        try:
            self._start(path, listen(port, host))
        except BaseException as error:
            self._running.close()
            if isinstance(error, Exception) and _is_full(path):
                raise LocalError(
                    f"the disk of {path} is full: make room and start again; what was acknowledged "
                    f"is kept ({error})"
                ) from error
            raise

    def stop(self) -> None:
        """Stop everything; what was uploaded and detected is kept."""
        self._running.close()

    def tick(self, name: str) -> None:
        """Run a scheduled function now, by its name, as if its time had come."""
        self._dispatcher.tick(name)

    def _start(self, path: Path, listening: socket.socket) -> None:
        self._running.callback(listening.close)
        home = Home(path)
        self._running.callback(home.close)
        self._disk = DiskSpace(home.path)
        disk = Watch(self._disk.look)
        self._running.callback(disk.stop)
        with _step("database"):
            postgres = Postgres(home)
            self._running.callback(postgres.stop)
        with _step("AWS stand-in"):
            standin = StandIn(home)
            self._running.callback(standin.stop)
        self.aws_url = standin.url
        chats_port = home.port("telegram")
        _set_environment(home, postgres.url, standin.url, chats_port)
        _send_logs_to(home)
        with _step("buckets, queues, tables"):
            _prepare()
        with _step("Telegram stand-in"):
            self._chats = self._start_telegram(chats_port, home.secret("telegram"))
        self.operator_token = _operator_token()
        with _step("bundled model"):
            _register_models()
        self._start_endpoint(home)
        with _step("HTTP server and dispatcher"):
            trainers = Child(home, "trainers", [sys.executable, "-m", "local.trainers"])
            trainers.wait_until(lambda: True, seconds=1)
            self._running.callback(trainers.stop)
            self._serve(home, listening)

    def _start_endpoint(self, home: Home) -> None:
        """Start what a SageMaker endpoint runs, where the settings name one."""
        from chalicelib.wiring import services
        from local.endpoint import EndpointStandIn

        if name := services().settings.endpoint:
            with _step("SageMaker endpoint"):
                endpoint = EndpointStandIn(home, name)
                self._running.callback(endpoint.stop)
            os.environ["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] = endpoint.url

    def _start_telegram(self, port: int, password: str) -> ChatStandIn:
        """Start the stand-in, and register the bot with it before the secret is first read."""
        from chalicelib.wiring import services
        from local.telegram.standin import ChatStandIn

        chats = ChatStandIn(port, password)
        self._running.callback(chats.stop)
        manager, secret = services().client("secretsmanager"), services().settings.secret_name
        chats.register(manager, secret, f"{self.url}/")
        return chats

    def _serve(self, home: Home, listening: socket.socket) -> None:
        from chalice.cli.factory import CLIFactory

        from chalicelib.trust.ledger import CHANNEL as BANS_CHANNEL
        from chalicelib.wiring import services
        from local.admission import Turns
        from local.buckets import Buckets
        from local.dispatcher import Dispatcher
        from local.listener import Listener
        from local.server import Limits, Server

        settings = services().settings

        factory = CLIFactory(str(ROOT), environ=os.environ)
        config = factory.create_config_obj(chalice_stage_name="local")
        app = config.chalice_app
        access_log = self._running.enter_context(home.log("http"))
        buckets = Buckets(self.aws_url, settings.uploads_bucket, settings.store_bucket)
        turns = Turns(settings.detections_at_once, settings.detections_waiting)
        limits = Limits(settings.allowed_hosts, turns, self._disk)
        window = self._chats.window
        server = Server(app, config, listening, access_log, window, buckets, limits)
        self._running.callback(server.stop)
        self._dispatcher = dispatcher = Dispatcher(app, services().client)
        self._running.callback(dispatcher.stop)
        watch = Watch(services().training.desk.drive)
        self._running.callback(watch.stop)
        tell = functools.partial(dispatcher.call, "update_reported_list")
        listener = Listener(settings.database_url, BANS_CHANNEL, tell)
        self._running.callback(listener.stop)


def _is_full(path: Path) -> bool:
    try:
        return DiskSpace(path).is_full()
    except OSError:  # there is no such folder
        return False


@contextmanager
def _step(what: str) -> Iterator[None]:
    """Tell that something is being started, and how long it took."""
    started = time.monotonic()
    print(f"  {what} …", end="", flush=True)
    try:
        yield
    except BaseException:
        print(" failed", flush=True)
        raise
    print(f" {time.monotonic() - started:.1f} s", flush=True)


def _set_environment(home: Home, database_url: str, aws_url: str, telegram_port: int) -> None:
    """Set what the Lambda's environment would hold; nothing of a real account is left in it."""
    os.environ.setdefault("SIGHTLOOP_LAUNCHER", "process")
    # One person's machine: nobody else is there to bring the other half of a training's images.
    os.environ.setdefault("SIGHTLOOP_MAX_CONTRIBUTOR_SHARE", "1")
    os.environ.setdefault("SIGHTLOOP_TRUSTED_CALLERS", "127.0.0.1,::/64")  # who tries it alone
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE"):
        os.environ.pop(name, None)
    os.environ |= {
        **credentials(home),
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": aws_url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "POWERTOOLS_METRICS_DISABLED": "true",
        "POWERTOOLS_SERVICE_NAME": "sightloop-local",
        "SIGHTLOOP_STAGE": "local",
        "SIGHTLOOP_REGION": REGION,
        "SIGHTLOOP_DATABASE_URL": database_url,
        "SIGHTLOOP_TELEGRAM_API": f"http://127.0.0.1:{telegram_port}",
        "SIGHTLOOP_HOME": str(home.path),
    }


def _send_logs_to(home: Home) -> None:
    """Send the app's log lines to a file: the terminal is for what a person wants to read."""
    from chalicelib.observability import logger

    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(home.log("app"))
    logging.getLogger("sightloop.local").addHandler(logging.StreamHandler(home.log("app")))


def _prepare() -> None:
    from chalicelib import settings
    from deploy import migrate, resources

    loaded = settings.load()
    resources.ensure(loaded)
    migrate.migrate(loaded.database_url)


def _operator_token() -> str:
    """Return the token of one of the operators, the one that was made for this machine first."""
    from chalicelib.wiring import services
    from deploy.secret import OPERATOR

    tokens = services().secrets.read().operators
    return tokens.get(OPERATOR) or next(iter(tokens.values()), "")


def _register_models() -> None:
    from chalicelib.wiring import services
    from deploy import bundled

    bundled.register(services(), BUNDLED)
