"""One process of the service under load, which ends when its standard input does.

    python -m benchmarks.bot_process serve 8103        # HTTP, the webhook among it
    python -m benchmarks.bot_process work              # what AWS calls by itself for the bot

The environment says where the stand-ins are. ``bot_stage`` starts these, and kills some.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from chalice.app import Chalice
from chalice.cli.factory import CLIFactory
from chalice.config import Config

from local.dispatcher import Dispatcher
from local.home import listen
from local.server import Server

ROOT = Path(__file__).parent.parent
WORK = frozenset({"on_upload", "identify", "converse", "reply"})


def main() -> None:
    """Begin, say so, and go on until standard input ends."""
    role, *port = sys.argv[1:]
    _speak_through_stderr()
    config = CLIFactory(str(ROOT), environ=os.environ).create_config_obj(chalice_stage_name="local")
    app = config.chalice_app
    running = _serve(app, config, int(port[0])) if role == "serve" else _work(app)
    print("ready", flush=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads on
    sys.stdin.read()
    running.stop()


def _serve(app: Chalice, config: Config, port: int) -> Server:
    return Server(app, config, listen(port), Path(os.devnull).open("w", encoding="utf-8"))


def _work(app: Chalice) -> Dispatcher:
    """Work on the bot's queues and what is behind them, and on no schedule."""
    from chalicelib.wiring import services  # noqa: PLC0415 - the app is to be made first

    app.event_sources[:] = [each for each in app.event_sources if each.name in WORK]
    return Dispatcher(app, services().client)


def _speak_through_stderr() -> None:
    """Keep the log off standard output, on which one line says that all is ready."""
    from chalicelib.observability import logger  # noqa: PLC0415 - with its environment

    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)


if __name__ == "__main__":
    main()
