"""What the routes of imports, exports and cuts share: how one is named, and asked for again."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

TransferId = Annotated[
    str,
    Field(
        description="as the answer to the request for it said",
        examples=["6f0c1a52-6f7e-4d5e-9a57-2d0f3c1b7a11"],
        json_schema_extra={"format": "uuid"},
    ),
]
ASK_AGAIN_SECONDS = "2"
AWAITED = {"Retry-After": "seconds after which to ask again, until it is over"}
