"""The Kubernetes Job of a training: plain `batch/v1`, so that a cluster needs nothing installed.

What it expects to be there, once for all jobs, is in `gpu_cluster/training/`: the namespace, the
service account that may read and write the store, and the headless service that names the pods.
"""

from __future__ import annotations

from typing import Any

from chalicelib.errors import ConfigurationError
from chalicelib.retrain.launchers import START_AGAIN, Launch
from chalicelib.retrain.launchers.command import on_each_of, on_one_machine, require, variables
from chalicelib.settings import Settings

SERVICE = "sightloop-training"  # also the service account's name, and the value of LABEL
LABEL = "app.kubernetes.io/name"
CONTAINER = "trainer"
USER = 1000  # the image's
WAIT_SECONDS = 3600  # for machines, which count into a Job's time
KEPT_SECONDS = 7 * 86_400
GRACE_SECONDS = 60
LOST_NODE_SECONDS = 30
BY_SIGNAL = range(129, 160)
MAY_FARE_BETTER = (START_AGAIN, *BY_SIGNAL)
WRITABLE = {"work": "/work", "tmp": "/tmp"}
Document = dict[str, Any]


def job_name(job: Launch) -> str:
    """Return what Kubernetes calls a job."""
    return f"training-{job.job_id}"


def render(settings: Settings, job: Launch) -> Document:
    """Return the Job.

    Raises
    ------
    ConfigurationError
        The settings name no image, or select nodes by what selects none.
    """
    require(settings.training_image, "SIGHTLOOP_TRAINING_IMAGE", "the trainer's image")
    labels = {LABEL: SERVICE, "sightloop/job": str(job.job_id)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(job),
            "namespace": settings.cluster_namespace,
            "labels": labels,
            "annotations": {"sightloop/model": job.model},
        },
        "spec": _course(settings, job)
        | {"template": {"metadata": {"labels": labels}, "spec": _pod(settings, job)}},
    }


def _course(settings: Settings, job: Launch) -> Document:
    """Return how many pods there are, and what happens where one is lost."""
    return {
        "completionMode": "Indexed",  # gives each pod a name that the others can look up
        "completions": settings.cluster_nodes,
        "parallelism": settings.cluster_nodes,
        "successPolicy": {"rules": [{"succeededIndexes": "0"}]},
        "backoffLimit": settings.training_restarts,
        "podFailurePolicy": {"rules": _what_failures_mean(settings)},
        "activeDeadlineSeconds": job.max_seconds + WAIT_SECONDS,
        "ttlSecondsAfterFinished": KEPT_SECONDS,
    }


def _what_failures_mean(settings: Settings) -> list[Document]:
    """Return the rules: the loss of a machine counts for nothing, a fault of ours for good."""
    lost = {"type": "DisruptionTarget", "status": "True"}
    rules: list[Document] = [{"action": "Ignore", "onPodConditions": [lost]}]
    if settings.cluster_nodes == 1 and settings.training_processes == 1:  # else it is torchrun's
        fault = {"containerName": CONTAINER, "operator": "NotIn", "values": [*MAY_FARE_BETTER]}
        rules.append({"action": "FailJob", "onExitCodes": fault})
    return rules


def _pod(settings: Settings, job: Launch) -> Document:
    return {
        "restartPolicy": "Never",  # the Job makes another pod, which is what is counted
        "serviceAccountName": SERVICE,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "subdomain": SERVICE,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **_nodes(settings),
        "containers": [_container(settings, job)],
        "volumes": [
            *({"name": name, "emptyDir": {}} for name in WRITABLE),
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "4Gi"}},
        ],
    }


def _nodes(settings: Settings) -> Document:
    """Return which nodes are taken, and how soon one that does not answer is given up."""
    soon = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": LOST_NODE_SECONDS}
    troubles = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    tolerated: list[Document] = [{"key": trouble, **soon} for trouble in troubles]
    if settings.cluster_uses_gpus:
        only_gpus = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        tolerated.append(only_gpus)
    selector = _node_selector(settings.cluster_node_selector)
    apart = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {LABEL: SERVICE}},
    }
    return {
        "tolerations": tolerated,
        "topologySpreadConstraints": [apart],
        **({"nodeSelector": selector} if selector else {}),
    }


def _node_selector(text: str) -> dict[str, str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    wrong = [part for part in parts if part.count("=") != 1 or part.startswith("=")]
    if wrong:
        raise ConfigurationError(
            f"SIGHTLOOP_CLUSTER_NODE_SELECTOR: {wrong[0]!r} is not key=value, such as "
            "karpenter.sh/capacity-type=spot"
        )
    return dict(part.split("=") for part in parts)


def _container(settings: Settings, job: Launch) -> Document:
    of_its_user = {"USER": CONTAINER, "HOME": WRITABLE["work"], "YOLO_CONFIG_DIR": WRITABLE["work"]}
    told = variables(settings) | of_its_user
    return {
        "name": CONTAINER,
        "image": settings.training_image,
        "command": _command(settings, job),
        "workingDir": WRITABLE["work"],
        "env": [{"name": name, "value": value} for name, value in told.items()],
        "resources": _resources(settings),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            *({"name": name, "mountPath": path} for name, path in WRITABLE.items()),
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }


def _command(settings: Settings, job: Launch) -> list[str]:
    nodes = settings.cluster_nodes
    if nodes == 1:
        return on_one_machine(job.job_id, settings.training_processes)
    first = f"{job_name(job)}-0.{SERVICE}.{settings.cluster_namespace}.svc"
    return on_each_of(nodes, job.job_id, settings, first)


def _resources(settings: Settings) -> Document:
    """Return what a pod takes: for each process two processors, 8 GiB and, where used, a GPU."""
    processes = settings.training_processes
    asked = {"cpu": str(2 * processes), "memory": f"{8 * processes}Gi"}
    if not settings.cluster_uses_gpus:
        return {"requests": asked, "limits": {"memory": asked["memory"]}}
    gpus = {"nvidia.com/gpu": str(processes)}
    return {"requests": asked | gpus, "limits": {"memory": asked["memory"], **gpus}}
