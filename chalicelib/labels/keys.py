"""Where in the store bucket things of datasets are that trainers read too, who have no database."""

from __future__ import annotations

PARKED = "parked/"


def parked_key(model: str, sha256: str, extension: str) -> str:
    """Return where an image is that has no label in force."""
    return f"{PARKED}{model}/{sha256}.{extension}"


def manifest_key(model: str, sha256: str) -> str:
    """Return where a dataset version's manifest is."""
    return f"datasets/{model}/{sha256}.jsonl.gz"
