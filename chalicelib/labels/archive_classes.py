"""The classes that an archive names: ``data.yaml`` of ultralytics, or ``classes.txt``."""

from __future__ import annotations

from typing import Any

import yaml

from chalicelib.errors import InvalidLabel
from chalicelib.labels import safe_yaml

MOST = 10_000
# Beyond its own errors, PyYAML lets these out of malformed scalars, such as `!!int ""`.
YAML_FAULTS = (
    yaml.YAMLError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


def names_in(name: str, text: str) -> tuple[str, ...]:
    r"""Return the classes in the order of their ids.

    Raises
    ------
    InvalidLabel
        There are none, or they are no list of different names.

    >>> names_in("data.yaml", "names: {0: scratch, 1: dent}")
    ('scratch', 'dent')
    >>> names_in("classes.txt", "scratch\ndent\n")
    ('scratch', 'dent')
    """
    a_line_each = name.lower().endswith((".txt", ".names"))
    listed = text.strip().splitlines() if a_line_each else _in_yaml(text)
    names = tuple(each.strip() if isinstance(each, str) else "" for each in listed)
    if not 0 < len(names) <= MOST or not all(names) or len(set(names)) < len(names):
        raise InvalidLabel(f"{name} must name between 1 and {MOST} different classes")
    return names


def _in_yaml(text: str) -> list[Any]:
    """Return the list ``names``, which may be a mapping from ids counted from 0."""
    try:
        names = safe_yaml.load(text)["names"]
        if isinstance(names, dict):
            return [names[class_id] for class_id in range(len(names))]
        return [str(each) if isinstance(each, int | float) else each for each in list(names)]
    except YAML_FAULTS as fault:
        raise InvalidLabel(f"the classes cannot be read: {type(fault).__name__}") from fault
