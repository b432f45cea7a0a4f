"""What Lambda does with a package: import the handler, call it with events, send back JSON.

    python -I -S lambda_runtime.py TASK LIBRARIES MODULE.FUNCTION < events.json

Prints the answers, and which modules were loaded before the first and after the last call.
"""

from __future__ import annotations

import importlib
import json
import sys


class Context:
    """The second argument of a handler."""

    function_name = "sightloop-test"
    function_version = "$LATEST"
    invoked_function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:sightloop-test"
    memory_limit_in_mb = 3008
    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return 29_000


def main() -> None:
    task, libraries, handler = sys.argv[1:]
    sys.path[:0] = [task, libraries]
    events = json.load(sys.stdin)
    module, _, name = handler.rpartition(".")
    function = getattr(importlib.import_module(module), name)
    imported = sorted(sys.modules)
    answers = [json.loads(json.dumps(function(event, Context()))) for event in events]
    found = {name: getattr(sys.modules[name], "__file__", None) for name in sys.modules}
    print(json.dumps({"answers": answers, "imported": imported, "files": found}))


if __name__ == "__main__":
    main()
