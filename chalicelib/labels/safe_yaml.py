"""YAML of strangers: of no more work than its size says."""

from __future__ import annotations

from typing import Any

import yaml

DEPTH = 20  # of lists and maps; a data.yaml has two
NESTS = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
ENDS = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)


def load(content: bytes | str) -> Any:
    """Read a small YAML document of plain values.

    Raises
    ------
    ValueError
        It has aliases, or is nested without end: of these a few bytes are much work.
    yaml.YAMLError, …
        As PyYAML, which lets other errors out of malformed scalars, such as ``!!int ""``.
    """
    _check_tokens(content)
    return yaml.safe_load(content)


def _check_tokens(content: bytes | str) -> None:
    """Refuse YAML of which few bytes are much work: aliases, and lists in lists without end.

    Raises
    ------
    ValueError
        It has some.
    """
    depth = 0
    for token in yaml.scan(content):
        depth += isinstance(token, NESTS) - isinstance(token, ENDS)
        if isinstance(token, yaml.AliasToken):
            raise ValueError("has aliases, which can stand for any amount: write it without")
        if depth > DEPTH:
            raise ValueError(f"is nested over {DEPTH} deep")
