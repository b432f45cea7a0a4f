"""Who calls. Bearer tokens will name people; until then a caller is a source address."""

from __future__ import annotations

from chalice.app import Request

UNKNOWN = "unknown"


def caller(request: Request) -> str:
    """Return the source address that API Gateway saw; never a header, which a client can set."""
    identity = request.context.get("identity") or {}
    return str(identity.get("sourceIp") or UNKNOWN)
