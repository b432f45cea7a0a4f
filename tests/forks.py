"""Runs a program again and again as forks of a process that has imported what it needs.

A test that kills a program at each of its steps starts it dozens of times, and most of each start
is imports. Each fork is a process of its own: it has its own connections and dies by itself.

Usage as a program: ``python -m tests.forks MODULE`` reads one JSON object a line, ``arguments`` and
``environment``, calls ``MODULE.main(*arguments)`` in a fork, and writes its exit status and what it
wrote to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import IO, NamedTuple, Self

ROOT = Path(__file__).parent.parent


class Ended(NamedTuple):
    """How a run ended: the exit status, negative for a signal, and its standard error."""

    returncode: int
    stderr: str


class Forks:
    """A process that forks for each run; a context manager that ends it.

    Parameters
    ----------
    module : str
        Dotted name; its ``main`` takes strings and returns an exit status.
    """

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forks", module],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self, *arguments: str, environment: Mapping[str, str]) -> Ended:
        """Run the program once, to its end, in an environment with these variables besides."""
        assert self._process.stdin
        assert self._process.stdout
        request = {"arguments": arguments, "environment": dict(environment)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Ended(*json.loads(self._process.stdout.readline()))


def _run(module: ModuleType, request: dict[str, object], stderr: IO[bytes]) -> int:
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        os.dup2(stderr.fileno(), 2)
        os.dup2(2, 1)  # standard output is for the answers of the parent
        os.environ.update(request["environment"])  # type: ignore[call-overload]
        status = module.main(*request["arguments"])  # type: ignore[misc]
    except BaseException:  # noqa: BLE001 - the process's edge
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def serve(name: str) -> None:
    """Fork for each line of standard input until there are no more."""
    module = importlib.import_module(name)
    for line in sys.stdin:
        with tempfile.TemporaryFile() as stderr:
            status = _run(module, json.loads(line), stderr)
            stderr.seek(0)
            print(json.dumps([status, stderr.read().decode(errors="replace")]), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
