"""Renders ``.chalice/``: Chalice's configuration and a policy for every function of every stage.

One template, here and in ``policies.py``; the rendered files are committed, so that a review sees
what a function may do. The same stages give the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deploy import stages
from deploy.policies import policy
from deploy.stages import APP, FUNCTIONS, Stage


def render(of: dict[str, Stage]) -> dict[str, str]:
    """Return the files of ``.chalice/``, from name to text."""
    files = {stages.FILE: stages.to_json(of), "config.json": _text(config(of))}
    for stage in of.values():
        for function in FUNCTIONS:
            files[policy_file(stage, function)] = _text(policy(stage, function))
    return files


def write(chalice: Path, of: dict[str, Stage]) -> list[str]:
    """Write the files that differ from what is there, and return their names."""
    chalice.mkdir(exist_ok=True)
    changed = []
    for name, text in render(of).items():
        file = chalice / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            changed.append(name)
    return changed


def config(of: dict[str, Stage]) -> dict[str, Any]:
    """Return Chalice's configuration."""
    return {
        "version": "2.0",
        "app_name": APP,
        "autogen_policy": False,
        "manage_iam_role": True,
        "api_gateway_stage": "api",
        "api_gateway_endpoint_type": "REGIONAL",
        "stages": {name: _stage(stage) for name, stage in sorted(of.items())},
    }


def policy_file(stage: Stage, function: str) -> str:
    """Return the name of the file that holds a function's policy."""
    return f"policy-{stage.name}-{function}.json"


def _stage(stage: Stage) -> dict[str, Any]:
    told = {"POWERTOOLS_LOG_LEVEL": "INFO", "POWERTOOLS_SERVICE_NAME": f"{APP}-{stage.name}"}
    return {
        "environment_variables": {**stage.environment, **told},
        "tags": {"application": APP, "stage": stage.name},
        "lambda_functions": {
            name: {
                "lambda_memory_size": size.memory_mb,
                "lambda_timeout": size.timeout_seconds,
                "iam_policy_file": policy_file(stage, name),
                **_network(stage, name),
            }
            for name, size in FUNCTIONS.items()
        },
    }


def _network(stage: Stage, function: str) -> dict[str, Any]:
    """Return where a function runs, where that is a network of one's own."""
    if not stage.is_in_network(function):
        return {}
    return {
        "subnet_ids": [*stage.subnet_ids],
        "security_group_ids": [*stage.security_group_ids],
    }


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"
