"""Trains on a Kubernetes cluster: a Job, elastic over machines, made through the cluster's API."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from chalicelib.errors import ConfigurationError
from chalicelib.retrain.launchers import Launch, Status
from chalicelib.retrain.launchers.kubernetes_api import (
    Answer,
    ClusterToken,
    KubernetesApi,
    eks_address,
)
from chalicelib.retrain.launchers.manifest import job_name, render
from chalicelib.settings import Settings

FAILURES = {
    "DeadlineExceeded": "it had not ended in the time that it may take",
    "BackoffLimitExceeded": "it was interrupted too often",
    "PodFailurePolicy": "the trainer said that no start would fare better",
}


class ClusterLauncher:
    """Has jobs trained as Kubernetes Jobs.

    Parameters
    ----------
    api : callable
        Returns the cluster's API; asked when it is first needed.
    settings : Settings
    """

    name = "cluster"

    def __init__(self, api: Callable[[], KubernetesApi], settings: Settings) -> None:
        self._made_api = functools.cache(api)
        self._settings = settings

    def launch(self, job: Launch) -> str:
        """Start a job, or find that it was started before; return its name on the cluster.

        Raises
        ------
        ConfigurationError
            The cluster refuses the job or us, or is not prepared; it says what to do.
        Unavailable
            The cluster does not answer.
        """
        document = render(self._settings, job)
        told = self._ask("POST", f"{self._jobs}?fieldValidation=Strict", document)
        if told.status == 404:
            namespace = self._settings.cluster_namespace
            raise ConfigurationError(
                f"the cluster has no namespace {namespace}: apply gpu_cluster/training to it"
            )
        return job_name(job)  # a conflict: it is there already

    def status(self, external_id: str) -> Status:
        """Return what became of a job; one that was stopped is gone.

        Raises
        ------
        ConfigurationError
            The cluster refuses us.
        Unavailable
            The cluster does not answer.
        """
        told = self._ask("GET", self._job(external_id))
        if told.status == 404:
            return Status("gone", f"the cluster has no job {external_id}: it was stopped, or lost")
        status = status_of(told.document)
        if status.state != "waiting":
            return status
        return Status("waiting", self._why_waiting(external_id) or status.detail)

    def stop(self, external_id: str) -> None:
        """Have a job stop soon, and its object go; nothing where it is not known.

        Raises
        ------
        ConfigurationError
            The cluster refuses us.
        Unavailable
            The cluster does not answer.
        """
        self._ask("DELETE", self._job(external_id), {"propagationPolicy": "Foreground"})

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        return self._made_api().ask(method, path, body)

    @property
    def _jobs(self) -> str:
        return f"/apis/batch/v1/namespaces/{self._settings.cluster_namespace}/jobs"

    def _job(self, external_id: str) -> str:
        return f"{self._jobs}/{quote(external_id, safe='')}"

    def _why_waiting(self, external_id: str) -> str:
        """Return what keeps a job's pods, as Kubernetes words it."""
        namespace = self._settings.cluster_namespace
        selected = quote(f"batch.kubernetes.io/job-name={external_id}", safe="")
        pods = f"/api/v1/namespaces/{namespace}/pods?labelSelector={selected}"
        told = self._ask("GET", pods)
        found = told.document.get("items") or []
        return next((words for pod in found if (words := _trouble(pod.get("status") or {}))), "")


def status_of(job: Mapping[str, Any]) -> Status:
    """Return what a Job says of itself.

    Parameters
    ----------
    job : mapping
        A `batch/v1` Job, as the API tells it.
    """
    told = job.get("status") or {}
    holds = {c["type"]: c for c in told.get("conditions") or [] if c.get("status") == "True"}
    if job.get("metadata", {}).get("deletionTimestamp"):
        return Status("running", "it is being stopped")
    if "Complete" in holds or "SuccessCriteriaMet" in holds:
        return Status("ended")
    fault = holds.get("Failed") or holds.get("FailureTarget")
    if fault:
        told_why = FAILURES.get(fault.get("reason", ""), "the cluster gave it up")
        return Status("failed", f"{told_why}: {fault.get('message') or 'without a word'}")
    if told.get("ready"):
        lost = told.get("failed", 0)
        return Status("running", f"{lost} of its pods were lost and replaced" if lost else "")
    return Status("waiting", "its pods do not run yet")


def _trouble(pod: Mapping[str, Any]) -> str:
    """Return what keeps a pod from running: that nobody has room for it, or its image."""
    unplaced = [
        condition
        for condition in pod.get("conditions") or []
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False"
    ]
    waits = [
        state["waiting"]
        for container in pod.get("containerStatuses") or []
        if (state := container.get("state") or {}).get("waiting")
    ]
    return _first_words([*unplaced, *waits])


def _first_words(told: Iterable[Mapping[str, Any]]) -> str:
    return next((str(each.get("message") or each.get("reason") or "") for each in told), "")


def of_settings(settings: Settings, client: Callable[[str], Any]) -> ClusterLauncher:
    """Return the launcher of the cluster that the settings name.

    Parameters
    ----------
    settings : Settings
    client : callable
        From a service's name to a boto3 client.
    """

    def api() -> KubernetesApi:
        name = settings.cluster_name
        if not name:
            raise ConfigurationError(
                "SIGHTLOOP_CLUSTER_NAME has to name the cluster: see 'Where trainings run' in "
                "docs/operations.md"
            )
        address = (settings.cluster_url, settings.cluster_ca)
        if not all(address):
            address = eks_address(client("eks"), name)
        return KubernetesApi(*address, ClusterToken(client("sts"), name))

    return ClusterLauncher(api, settings)
