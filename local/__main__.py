"""`python -m local`: the one-machine stack, until Ctrl-C."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
from pathlib import Path

from local.admission import limit_arenas
from local.errors import LocalError
from local.home import HOST, ROOT
from local.stack import Stack
from local.standin import ACCESS_KEY

DEFAULT_PORT = "8000"
ADDRESSES = (HOST, "0.0.0.0")  # the second: other devices in the network, such as a phone
SAMPLE = "chalicelib/web/static/samples/tag-1.jpg"
READY = """
Sightloop is ready: {url}

  a page      {url}/
  the bot     {url}/bot
  boxes       curl --data-binary {sample} -H 'Content-Type: image/jpeg' \\
                   {url}/v1/models/scratch/detections
  S3          AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY="$(cat {secret})" \\
                   aws --region eu-central-1 --endpoint-url {aws} \\
                   s3 cp photo.jpg s3://sightloop-local-uploads/uploads/scratch/
  operators   {url}/trust#token={token}
  data, logs  {home}

Ctrl-C stops everything and keeps the data.
"""


def main() -> int:
    """Run the stack; return the exit status."""
    asked_to_stop = _signals()
    if os.geteuid():  # root's PostgreSQL runs as another user, who has to get at its data
        os.umask(0o077)  # logs and data hold tokens and photos: for their owner only
    limit_arenas()
    home = Path(os.environ.get("SIGHTLOOP_HOME") or ROOT / ".sightloop")
    try:
        port = _port(os.environ.get("PORT") or DEFAULT_PORT)
        stack = Stack(home, port, _host(os.environ.get("HOST") or HOST))
    except LocalError as error:
        print(f"sightloop: {error}", file=sys.stderr)
        return 1
    sample = shlex.quote(f"@{ROOT / SAMPLE}")
    secret = shlex.quote(str(home.resolve() / "aws.secret"))
    told = {"url": stack.url, "aws": stack.aws_url, "home": home, "sample": sample}
    told |= {"access_key": ACCESS_KEY, "secret": secret}
    print(READY.format(**told, token=stack.operator_token), flush=True)
    asked_to_stop.recv(1)
    print("stopping …", flush=True)
    stack.stop()
    return 0


def _signals() -> socket.socket:
    """Return a socket on which a byte arrives when somebody wants us to stop.

    A signal that comes just before a thread begins to wait for a lock does not wake it; a byte
    that came before one reads is there.
    """
    ours, python = socket.socketpair()
    python.setblocking(False)
    signal.set_wakeup_fd(python.detach())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return ours


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise LocalError(f"PORT is {text!r}, not a port")
    return int(text)


def _host(text: str) -> str:
    if text not in ADDRESSES:
        raise LocalError(f"HOST is {text!r}: {' or '.join(ADDRESSES)} can be")
    return text


if __name__ == "__main__":
    sys.exit(main())
