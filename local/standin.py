"""The stand-in for AWS: S3, SQS, DynamoDB and secrets in one process; its state is kept."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

from local.children import Child
from local.home import Home

START_SECONDS = 60
REGION = "eu-central-1"
ACCESS_KEY = "sightloop"


def credentials(home: Home) -> dict[str, str]:
    """Return the only credentials that the stand-in of a data folder takes, as variables."""
    return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": home.secret("aws")}


class StandIn:
    """A ministack server behind ``local.aws``.

    Parameters
    ----------
    home : Home
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self.port = home.port("aws")
        kept = home.path / "aws"
        environment = {
            **os.environ,
            **credentials(home),
            "AUTH": "true",  # else forms are taken whoever signed them
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_REGION": REGION,
            "PERSIST_STATE": "1",
            "STATE_DIR": str(kept / "state"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(kept / "s3"),
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
        }
        self._server = Child(home, "aws", [sys.executable, "-m", "local.aws"], environment)
        self._server.wait_until(self._answers, START_SECONDS)

    @property
    def url(self) -> str:
        """What ``AWS_ENDPOINT_URL`` has to be."""
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Let it save its state and end."""
        self._server.stop()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
