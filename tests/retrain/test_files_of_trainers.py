"""The image of the trainer, and what a cluster has to hold for it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import kubernetes_validate
import pytest
import yaml

from chalicelib.retrain.launchers import Launch
from chalicelib.retrain.launchers.command import ENTRY_POINT, IN_IMAGE, RENDEZVOUS_PORT
from chalicelib.retrain.launchers.manifest import LABEL, SERVICE, render
from chalicelib.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "sagemaker/training/Dockerfile"
UNTIL_DONE = ROOT / "sagemaker/training/until_done.sh"
CLUSTER = ROOT / "gpu_cluster/training"
VERSIONS = ("1.31", "1.33", "1.35", "1.37")
Document = dict[str, Any]


def _documents() -> list[Document]:
    listed = yaml.safe_load((CLUSTER / "kustomization.yaml").read_text())["resources"]
    return [
        document for name in listed for document in yaml.safe_load_all((CLUSTER / name).read_text())
    ]


def _of(kind: str) -> Document:
    found: list[Document] = [each for each in _documents() if each["kind"] == kind]
    return found[0]


def _job() -> Document:
    return render(
        Settings(training_image="a/b:1", cluster_nodes=2), Launch(UUID(int=1), "scratch", 3600)
    )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", _documents(), ids=lambda document: document["kind"])
def test_what_a_cluster_is_given_kubernetes_takes(document: Document, version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


def test_every_file_is_given() -> None:
    listed = yaml.safe_load((CLUSTER / "kustomization.yaml").read_text())["resources"]

    assert {*listed, "kustomization.yaml"} == {file.name for file in CLUSTER.iterdir()}


def test_the_files_are_those_of_the_jobs() -> None:
    job = _job()
    pod = job["spec"]["template"]
    service, account = _of("Service"), _of("ServiceAccount")

    assert {each["metadata"].get("namespace") for each in _documents()[1:]} == {
        job["metadata"]["namespace"]
    }
    assert _of("Namespace")["metadata"]["name"] == job["metadata"]["namespace"]
    assert account["metadata"]["name"] == pod["spec"]["serviceAccountName"] == SERVICE
    assert service["metadata"]["name"] == pod["spec"]["subdomain"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert service["spec"]["ports"][0]["port"] == RENDEZVOUS_PORT
    shut = _of("NetworkPolicy")["spec"]
    assert shut["podSelector"]["matchLabels"] == {LABEL: SERVICE}
    assert shut["ingress"][0]["from"][0]["podSelector"]["matchLabels"] == {LABEL: SERVICE}


def test_who_launches_may_do_what_the_launcher_does_and_no_more() -> None:
    source = (ROOT / "chalicelib/retrain/launchers/cluster.py").read_text()
    verbs = {"POST": "create", "GET": "get", "DELETE": "delete"}
    asked = {verbs[method] for method in re.findall(r'_ask\(\s*"([A-Z]+)"', source)}

    role, binding = _of("Role"), _of("RoleBinding")
    assert role["rules"] == [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "delete"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    ]
    assert asked == set(role["rules"][0]["verbs"])
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


def test_a_job_meets_what_its_namespace_insists_on() -> None:
    labels = _of("Namespace")["metadata"]["labels"]
    pod = _job()["spec"]["template"]["spec"]
    container = pod["containers"][0]["securityContext"]

    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert all("emptyDir" in volume for volume in pod["volumes"])


def test_the_launchers_run_what_is_in_the_image() -> None:
    written = DOCKERFILE.read_text()

    assert f'ENTRYPOINT ["python", "{ENTRY_POINT}"]' in written
    assert Path(ENTRY_POINT).parent == Path(IN_IMAGE)
    assert ROOT / Path(IN_IMAGE).relative_to("/opt/sightloop") == UNTIL_DONE.parent


def _until_done(tmp_path: Path, again: int, script: str) -> tuple[int, int]:
    """Run a command under until_done.sh; return its status and how often it ran."""
    command = tmp_path / "command"
    runs = tmp_path / "runs"
    command.write_text(f"echo >> {runs}\n{script}\n")
    done = subprocess.run(
        ["sh", str(UNTIL_DONE), str(again), "sh", str(command)],
        env={"PATH": "/usr/bin:/bin", "UNTIL_DONE_PAUSE": "0"},
        timeout=60,
        check=False,
    )
    return done.returncode, len(runs.read_text().splitlines())


@pytest.mark.parametrize(
    ("script", "status", "runs"),
    [
        ("exit 0", 0, 1),
        ("exit 1", 1, 1),
        ("exit 75", 75, 4),
        ("kill -KILL $$", 137, 4),
        ('[ "$(wc -l < {runs})" -ge 3 ] || exit 75', 0, 3),
    ],
)
def test_a_trainer_on_sagemaker_is_started_again_where_that_may_help(
    tmp_path: Path, script: str, status: int, runs: int
) -> None:
    script = script.replace("{runs}", str(tmp_path / "runs"))

    assert _until_done(tmp_path, 3, script) == (status, runs)


def test_a_trainer_that_is_asked_to_end_is_not_started_again(tmp_path: Path) -> None:
    command = tmp_path / "command"
    command.write_text(
        f"echo >> {tmp_path}/runs\n"
        f"trap 'echo asked > {tmp_path}/asked; exit 75' TERM\n"
        f"echo > {tmp_path}/ready\n"
        "while :; do sleep 0.05; done\n"
    )
    running = subprocess.Popen(["sh", str(UNTIL_DONE), "3", "sh", str(command)])
    while not (tmp_path / "ready").exists():
        assert running.poll() is None

    running.terminate()

    assert running.wait(60) == 75
    assert (tmp_path / "asked").exists()
    assert len((tmp_path / "runs").read_text().splitlines()) == 1
