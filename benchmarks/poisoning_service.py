"""The one-machine stack as the poisoning drill uses it, and what the drill reads in its database.

Nobody reviews, unless a scenario says so: what waits for a person stays out of the dataset.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks import poisoning_stage as stage
from chalicelib.settings import Settings
from local.demo.client import JSON, Api
from local.demo.course import Person
from local.demo.records import Records
from local.home import free_port

Visibility = Literal["public", "members", "private"]
# Not as the stack has it for somebody who is alone on a machine. Nothing is trained.
AS_DEPLOYED = {
    "SIGHTLOOP_LAUNCHER": "",
    "SIGHTLOOP_TRUSTED_CALLERS": "",
    "SIGHTLOOP_MAX_CONTRIBUTOR_SHARE": str(Settings.from_environment({}).max_contributor_share),
}


class Service:
    """The running service.

    Parameters
    ----------
    folder : Path
        The data folder.
    both_classes : bool
        As `poisoning_stage` explains it.
    """

    def __init__(self, folder: Path, both_classes: bool) -> None:
        from local.stack import Stack  # noqa: PLC0415 - it sets the environment

        os.environ |= AS_DEPLOYED
        self.port = free_port()
        self.both_classes = both_classes
        self._folder = folder
        self._stack = Stack(folder, self.port)
        from chalicelib.wiring import services  # noqa: PLC0415 - it reads the environment

        self._services = services()
        self._key = self._services.secrets.read().subjects_key
        self.operator = Api(self.port, self._stack.operator_token)
        self.records = Records(self._services.database)
        self._models: dict[int, stage.ServedModel] = {}

    def stop(self) -> None:
        """Stop everything."""
        self._stack.stop()

    def publish(self, model: str, side: int, visibility: Visibility) -> stage.ServedModel:
        """Let a model that looks at photos with so many pixels serve under a name."""
        if side not in self._models:
            self._models[side] = stage.served_model(side, self._folder, self.both_classes)
        served = self._models[side]
        self._services.publisher.publish(model, served.weights, served.metrics)
        self._show_to(model, visibility)
        return served

    def _show_to(self, model: str, visibility: Visibility) -> None:
        """Set who may see a model's photos; where the service cannot, all models are public."""
        path, body = f"/v1/models/{model}/visibility", {"visibility": visibility}
        status, answer = self.operator.ask("PUT", path, json.dumps(body).encode())
        if status != 200 and not (status == 404 and visibility == "public"):
            raise RuntimeError(f"{path}: {status}: {answer}")

    def member(self, name: str) -> Api:
        """Return the service as a member reaches it, with a token."""
        return Api.of_user(self.port, self._key, name)

    def api(self, person: Person) -> Api:
        """Return the service as a person reaches it."""
        return self.member(person.name) if person.has_token else self.address(person.name)

    def address(self, address: str) -> Api:
        """Return the service as a caller without a token reaches it from an address."""
        return Api(self.port, "", address)

    def plan(self, model: str) -> Mapping[str, Any]:
        """Run the planner; return what it says of a model."""
        self._stack.tick("plan")
        [plan] = self.operator.get(f"/v1/training-plans?model={model}")["plans"]
        return dict(plan)

    def accept(self, submission_ids: Sequence[int]) -> None:
        """Accept submissions as an operator."""
        for submission_id in submission_ids:
            [(updated_at,)] = self.records.rows(
                "SELECT updated_at FROM requests WHERE request_id = %s", submission_id
            )
            decision = {"decision": "accept", "why": "right", "seen": updated_at.isoformat()}
            path = f"/v1/review/{submission_id}"
            status, answer = self.operator.post(path, json.dumps(decision).encode(), JSON)
            if status != 200:
                raise RuntimeError(f"{path}: {status}: {answer}")
