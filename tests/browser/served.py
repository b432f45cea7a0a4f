"""Serves the real `app.py` over a stand-in of AWS until its standard input ends.

    python tests/browser/served.py postgresql://user:password@host/name

A process of its own: its dispatcher would eat the messages that other tests put on queues of the
same names. Prints one line of JSON: where the page is, and the hosts that it may ask.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import boto3  # noqa: E402
from botocore.config import Config  # noqa: E402
from chalice.cli.factory import CLIFactory  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402

from chalicelib import wiring  # noqa: E402
from chalicelib.settings import Settings  # noqa: E402
from deploy.resources import ensure  # noqa: E402
from local.dispatcher import Dispatcher  # noqa: E402
from local.home import listen  # noqa: E402
from local.server import Server  # noqa: E402
from local.telegram.standin import ChatStandIn  # noqa: E402


def _client_of(endpoint: str, settings: Settings) -> Callable[[str], Any]:
    config = Config(s3={"addressing_style": "path"})
    return lambda service: boto3.client(
        service, region_name=settings.region, endpoint_url=endpoint, config=config
    )


def _services(endpoint: str, settings: Settings) -> wiring.Services:
    """Make what the app runs on, with the bundled model registered."""
    client = _client_of(endpoint, settings)
    ensure(settings, client)
    services = wiring.Services(
        settings, {name: client(name) for name in ("s3", "sqs", "dynamodb", "secretsmanager")}
    )
    bundled = ROOT / "models/scratch"
    onnx, metrics = (bundled / name for name in ("model.onnx", "metrics.json"))
    services.publisher.publish("scratch", onnx.read_bytes(), metrics.read_bytes())
    return services


def main() -> None:
    """Serve until standard input ends."""
    chats = ChatStandIn(0, "of-the-browsers-tests")
    wanted = {"SIGHTLOOP_DATABASE_URL": sys.argv[1], "SIGHTLOOP_TELEGRAM_API": chats.url}
    # The tests of a module send more in a minute than one person is allowed to.
    wanted |= {"SIGHTLOOP_PROOF": "none", "SIGHTLOOP_QUOTAS": "false"}
    settings = Settings.from_environment(wanted)
    standin = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    standin.start()
    endpoint = "http://{}:{}".format(*standin.get_host_and_port())
    services = _services(endpoint, settings)
    wiring.provide(services)
    config = CLIFactory(str(ROOT), environ=os.environ).create_config_obj(chalice_stage_name="local")
    listening = listen(0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    chats.register(services.client("secretsmanager"), settings.secret_name, f"{url}/")
    server = Server(config.chalice_app, config, listening, sys.stderr, chats.window)
    dispatcher = Dispatcher(config.chalice_app, _client_of(endpoint, settings))
    hosts = {urlsplit(address).netloc for address in (url, endpoint, services.uploads.origin)}
    told = {
        "url": url,
        "hosts": sorted(hosts),
        "bucket": settings.uploads_bucket,
        "aws": endpoint,
        "database": settings.database_url,
        "operator": services.secrets.read().operators["operator"],
    }
    print(json.dumps(told), file=sys.__stdout__, flush=True)
    sys.stdin.read()
    dispatcher.stop()
    server.stop()
    chats.stop()
    standin.stop()


if __name__ == "__main__":
    main()
