"""One cold start, timed from inside; `cold_start.py` runs it in a fresh interpreter.

python -I -S cold_start_probe.py MODULE.FUNCTION FOLDER... < events.json
"""

from __future__ import annotations

import importlib
import itertools
import json
import sys
import time
from pathlib import Path


class Context:
    """What a handler reads of Lambda's context."""

    function_name = "sightloop-cold-start"
    function_version = "$LATEST"
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:cold-start"
    memory_limit_in_mb = 3008
    aws_request_id = "00000000-0000-0000-0000-000000000000"


def main() -> None:
    """Import, call, and print the milliseconds that each took."""
    handler, *folders = sys.argv[1:]
    sys.path[:0] = folders
    events = json.load(sys.stdin)
    module, _, name = handler.rpartition(".")
    took = [(time.perf_counter(), time.process_time())]
    function = getattr(importlib.import_module(module), name)
    took.append((time.perf_counter(), time.process_time()))
    statuses = []
    for event in events:
        statuses.append(function(event, Context())["statusCode"])
        took.append((time.perf_counter(), time.process_time()))
    steps = list(itertools.pairwise(took))
    measured = {
        "ms": [(after[0] - before[0]) * 1000 for before, after in steps],
        "processor_ms": [(after[1] - before[1]) * 1000 for before, after in steps],
        "statuses": statuses,
        "peak_mib": peak_mib(),
    }
    print(json.dumps(measured))


def peak_mib() -> float:
    """Return this process's largest resident size; 0 where there is no /proc to tell it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024


if __name__ == "__main__":
    main()
