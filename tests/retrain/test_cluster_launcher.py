"""Trainings on a Kubernetes cluster: what it is asked, and what its answers mean.

The cluster is a stand-in that speaks TLS, looks at the token, and takes only what the published
schemas of Kubernetes take, strictly.
"""

from __future__ import annotations

import base64
import datetime
import json
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from uuid import UUID

import boto3
import kubernetes_validate
import pytest
from botocore.stub import Stubber
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from moto import mock_aws

from chalicelib.errors import ConfigurationError, Unavailable
from chalicelib.retrain.launchers import Launch, Status, make
from chalicelib.retrain.launchers.cluster import status_of
from chalicelib.settings import Settings

JOB = Launch(UUID(int=7), "scratch", 3600)
NAME = f"training-{JOB.job_id}"
JOBS = "/apis/batch/v1/namespaces/sightloop/jobs"
KUBERNETES = "1.33"


@dataclass
class Cluster:
    """What the stand-in holds, and how it is to answer."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    namespaces: frozenset[str] = frozenset({"sightloop"})
    answers: tuple[int, bytes] | None = None
    url: str = ""
    ca: str = ""

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        where = urllib.parse.urlsplit(path)
        self.asked.append((method, path))
        if where.path.split("/")[-2:][0] == "namespaces" or "namespaces" not in where.path:
            return 404, _status(404, "the server could not find the requested resource")
        if where.path.split("namespaces/")[1].split("/")[0] not in self.namespaces:
            return 404, _status(404, 'namespaces "sightloop" not found')
        if where.path.endswith("/pods"):
            return 200, {"kind": "PodList", "items": self.pods}
        if method == "POST":
            return self._create(body)
        name = urllib.parse.unquote(where.path.rpartition("/")[2])
        if name not in self.jobs:
            return 404, _status(404, f'jobs.batch "{name}" not found')
        if method == "DELETE":
            self.jobs[name]["metadata"]["deletionTimestamp"] = "2026-11-21T12:00:00Z"
        return 200, self.jobs[name]

    def _create(self, job: dict[str, Any]) -> tuple[int, Any]:
        try:
            kubernetes_validate.validate(job, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            return 422, _status(422, str(error))
        name = job["metadata"]["name"]
        if name in self.jobs:
            return 409, _status(409, f'jobs.batch "{name}" already exists')
        self.jobs[name] = {**job, "status": {}}
        return 201, self.jobs[name]


def _status(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "code": code, "message": message}


def _handler(cluster: Cluster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            cluster.tokens.append(self.headers.get("Authorization", ""))
            code, told = cluster.answers or cluster.answer(self.command, self.path, body)
            sent = told if isinstance(told, bytes) else json.dumps(told).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _certificate(folder: Path) -> Path:
    """Make a certificate for 127.0.0.1 that is its own authority; return the file with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    now = datetime.datetime.now(datetime.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = folder / "stand-in.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(pem))
    (folder / "ca.pem").write_bytes(made.public_bytes(pem))
    return file


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def cluster(certificate: Path) -> Iterator[Cluster]:
    """A cluster of its own for each test."""
    made = Cluster()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    speaks = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    speaks.load_cert_chain(certificate)
    server.socket = speaks.wrap_socket(server.socket, server_side=True)
    made.url = f"https://127.0.0.1:{server.server_port}"
    made.ca = base64.b64encode((certificate.parent / "ca.pem").read_bytes()).decode()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def launcher(cluster: Cluster) -> Callable[..., Any]:
    """Make launchers of the cluster, with some settings changed."""

    def made(**changed: Any) -> Any:
        known = {
            "launcher": "cluster",
            "stage": "dev",
            "training_image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/trainer:1",
            "cluster_name": "vision",
            "cluster_url": cluster.url,
            "cluster_ca": cluster.ca,
        }
        settings = Settings.model_validate({**known, **changed})
        return make(settings, lambda name: boto3.client(name, region_name="eu-central-1"))

    return made


def test_a_job_is_launched_and_found_again(cluster: Cluster, launcher: Any) -> None:
    assert launcher().launch(JOB) == NAME

    assert [*cluster.jobs] == [NAME]
    assert launcher().status(NAME).state == "waiting"


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"cluster_nodes": 4},
        {"cluster_nodes": 2, "training_processes": 8},
        {"training_processes": 4},
        {"cluster_uses_gpus": False},
        {"cluster_node_selector": "karpenter.sh/capacity-type=spot, gpu=a10g"},
        {"training_restarts": 0},
    ],
    ids=str,
)
def test_every_job_is_one_that_kubernetes_takes(
    cluster: Cluster, launcher: Any, changed: dict[str, Any]
) -> None:
    launcher(**changed).launch(JOB)

    job = cluster.jobs[NAME]
    for version in ("1.31", "1.35", "1.37"):
        kubernetes_validate.validate(
            {key: job[key] for key in job if key != "status"}, version, strict=True
        )
    assert _faults(job["spec"]) == []


def test_the_cluster_is_strict(cluster: Cluster, launcher: Any) -> None:
    launcher().launch(JOB)
    job = cluster.jobs[NAME]
    wrong = {**job, "metadata": {"name": "other"}, "spec": {**job["spec"], "paralelism": 2}}

    assert cluster.answer("POST", JOBS, wrong)[0] == 422
    assert "?fieldValidation=Strict" in cluster.asked[0][1]


def test_a_job_that_is_launched_twice_is_one(cluster: Cluster, launcher: Any) -> None:
    assert launcher().launch(JOB) == launcher().launch(JOB) == NAME

    assert len(cluster.jobs) == 1


def test_several_machines_meet_at_the_first(cluster: Cluster, launcher: Any) -> None:
    launcher(cluster_nodes=3, training_processes=2).launch(JOB)

    spec = cluster.jobs[NAME]["spec"]
    assert spec["completions"] == spec["parallelism"] == 3
    line = spec["template"]["spec"]["containers"][0]["command"][2]
    assert "--nnodes=1:3 --nproc-per-node=2" in line
    assert f"--rdzv-endpoint={NAME}-0.sightloop-training.sightloop.svc:29400" in line


def test_a_trainer_that_says_so_is_not_started_again(cluster: Cluster, launcher: Any) -> None:
    launcher().launch(JOB)

    rules = cluster.jobs[NAME]["spec"]["podFailurePolicy"]["rules"]
    values = rules[1]["onExitCodes"]["values"]
    assert rules[1]["action"] == "FailJob"
    assert rules[1]["onExitCodes"]["operator"] == "NotIn"
    assert {75, 137, 143} <= set(values)
    assert 1 not in values


def test_what_pods_of_several_say_is_torchrun_s_and_ends_nothing(
    cluster: Cluster, launcher: Any
) -> None:
    launcher(cluster_nodes=2).launch(JOB)

    rules = cluster.jobs[NAME]["spec"]["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["Ignore"]


def test_the_token_is_a_signed_question_who_we_are(cluster: Cluster, launcher: Any) -> None:
    launcher().launch(JOB)

    scheme, token = cluster.tokens[0].split()
    head, _, signed = token.partition(".")
    assert (scheme, head) == ("Bearer", "k8s-aws-v1")
    url = urllib.parse.urlsplit(base64.urlsafe_b64decode(signed + "==").decode())
    asked = urllib.parse.parse_qs(url.query)
    assert url.hostname == "sts.eu-central-1.amazonaws.com"
    assert asked["Action"] == ["GetCallerIdentity"]
    assert asked["X-Amz-SignedHeaders"] == ["host;x-k8s-aws-id"]
    assert int(asked["X-Amz-Expires"][0]) <= 900


def test_a_token_is_of_one_cluster(cluster: Cluster, launcher: Any) -> None:
    launcher(cluster_name="vision").launch(JOB)
    launcher(cluster_name="other").launch(JOB)

    signatures = {
        base64.urlsafe_b64decode(token.partition(".")[2] + "==").rpartition(b"Signature=")[2]
        for token in cluster.tokens
    }
    assert len(signatures) == 2


def test_the_address_of_an_eks_cluster_is_looked_up(cluster: Cluster) -> None:
    eks = boto3.client("eks", region_name="eu-central-1")
    found = {"endpoint": cluster.url, "certificateAuthority": {"data": cluster.ca}}
    sts = boto3.client("sts", region_name="eu-central-1")
    settings = Settings(launcher="cluster", training_image="a/b:1", cluster_name="vision")
    with Stubber(eks) as stub:
        stub.add_response("describe_cluster", {"cluster": found}, {"name": "vision"})
        of_eks = make(settings, {"eks": eks, "sts": sts}.__getitem__)
        assert of_eks is not None

        of_eks.launch(JOB)
        assert of_eks.status(NAME).state == "waiting"  # the address is asked for once

    assert [*cluster.jobs] == [NAME]


def test_an_eks_cluster_that_is_still_made_is_waited_for() -> None:
    eks = boto3.client("eks", region_name="eu-central-1")
    settings = Settings(launcher="cluster", training_image="a/b:1", cluster_name="vision")
    with Stubber(eks) as stub:
        stub.add_response("describe_cluster", {"cluster": {"status": "CREATING"}})
        of_eks = make(settings, lambda _: eks)
        assert of_eks is not None

        with pytest.raises(Unavailable, match="CREATING"):
            of_eks.launch(JOB)


def test_an_eks_cluster_that_is_not_there_is_said(launcher: Any) -> None:
    with mock_aws(), pytest.raises(ConfigurationError, match="vision"):
        launcher(cluster_url="", cluster_ca="").launch(JOB)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"training_image": ""}, "SIGHTLOOP_TRAINING_IMAGE"),
        ({"cluster_name": ""}, "SIGHTLOOP_CLUSTER_NAME"),
        ({"cluster_ca": "bm9uZQ=="}, "SIGHTLOOP_CLUSTER_CA"),
        ({"cluster_ca": "ü"}, "SIGHTLOOP_CLUSTER_CA"),
        ({"cluster_url": "http://127.0.0.1"}, "SIGHTLOOP_CLUSTER_URL"),
        ({"cluster_node_selector": "spot"}, "SIGHTLOOP_CLUSTER_NODE_SELECTOR"),
        ({"cluster_namespace": "other"}, "no namespace other"),
    ],
)
def test_what_is_set_up_wrongly_is_said(launcher: Any, changed: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        launcher(**changed).launch(JOB)


def test_a_cluster_with_another_certificate_is_not_believed(
    cluster: Cluster, launcher: Any, tmp_path: Path
) -> None:
    _certificate(tmp_path)
    other = base64.b64encode((tmp_path / "ca.pem").read_bytes()).decode()

    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        launcher(cluster_ca=other).launch(JOB)

    assert cluster.tokens == []


@pytest.mark.parametrize(
    ("code", "raised", "told"),
    [
        (401, ConfigurationError, "access entries"),
        (403, ConfigurationError, "apply gpu_cluster/training"),
        (422, ConfigurationError, "too bad"),
        (429, Unavailable, "too bad"),
        (500, Unavailable, "too bad"),
        (503, Unavailable, "too bad"),
        (302, Unavailable, "too bad"),
    ],
)
def test_a_refusal_says_whether_to_try_again(
    cluster: Cluster, launcher: Any, code: int, raised: type[Exception], told: str
) -> None:
    cluster.answers = (code, json.dumps(_status(code, "too bad")).encode())

    with pytest.raises(raised, match=told):
        launcher().launch(JOB)


def test_an_answer_that_is_no_json_is_quoted(cluster: Cluster, launcher: Any) -> None:
    cluster.answers = (502, b"<html>bad gateway</html>")

    with pytest.raises(Unavailable, match="bad gateway"):
        launcher().status(NAME)


def test_a_cluster_that_does_not_answer_is_tried_again(launcher: Any) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        launcher(cluster_url="https://127.0.0.1:1").launch(JOB)


def test_a_job_that_is_not_there_is_gone(launcher: Any) -> None:
    assert launcher().status(NAME).state == "gone"
    launcher().stop(NAME)


def test_a_job_is_stopped_and_its_object_goes(cluster: Cluster, launcher: Any) -> None:
    launcher().launch(JOB)
    launcher().stop(NAME)

    assert launcher().status(NAME) == Status("running", "it is being stopped")
    del cluster.jobs[NAME]
    assert launcher().status(NAME).state == "gone"


def test_a_name_that_is_none_reaches_nothing_else(cluster: Cluster, launcher: Any) -> None:
    assert launcher().status("../../nodes?x=1#").state == "gone"

    assert cluster.asked[-1][1] == f"{JOBS}/..%2F..%2Fnodes%3Fx%3D1%23"


def test_what_keeps_a_job_waiting_is_told(cluster: Cluster, launcher: Any) -> None:
    launcher().launch(JOB)
    cluster.jobs[NAME]["status"] = {"active": 1, "ready": 0}
    words = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    unplaced = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    cluster.pods = [{"status": {"conditions": [{**unplaced, "message": words}]}}]

    assert launcher().status(NAME) == Status("waiting", words)


def test_an_image_that_cannot_be_fetched_is_told(cluster: Cluster, launcher: Any) -> None:
    launcher().launch(JOB)
    waits = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
    placed = {"type": "PodScheduled", "status": "True"}
    held = [{"state": {"waiting": waits}}]
    cluster.pods = [{"status": {"conditions": [placed], "containerStatuses": held}}]

    assert launcher().status(NAME) == Status("waiting", "Back-off pulling image")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ({}, Status("waiting", "its pods do not run yet")),
        ({"active": 2, "ready": 0}, Status("waiting", "its pods do not run yet")),
        ({"active": 2, "ready": 2}, Status("running")),
        (
            {"active": 1, "ready": 1, "failed": 3},
            Status("running", "3 of its pods were lost and replaced"),
        ),
        ({"conditions": [{"type": "Complete", "status": "True"}]}, Status("ended")),
        ({"conditions": [{"type": "SuccessCriteriaMet", "status": "True"}]}, Status("ended")),
        (
            {"active": 1, "ready": 1, "conditions": [{"type": "Failed", "status": "False"}]},
            Status("running"),
        ),
    ],
)
def test_what_a_job_says_means_one_state(status: Any, told: Status) -> None:
    assert status_of({"metadata": {}, "status": status}) == told


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("DeadlineExceeded", "had not ended"),
        ("BackoffLimitExceeded", "too often"),
        ("PodFailurePolicy", "no start would fare better"),
        ("New", "gave it up"),
    ],
)
def test_why_a_job_failed_is_told(reason: str, told: str) -> None:
    held = {"type": "Failed", "status": "True", "reason": reason, "message": "as Kubernetes says"}
    status = status_of({"metadata": {}, "status": {"conditions": [held]}})

    assert status.state == "failed"
    assert told in status.detail
    assert "as Kubernetes says" in status.detail


def _faults(spec: dict[str, Any]) -> list[str]:
    """Return what a Job says that the schemas do not see but Kubernetes refuses."""
    faults = []
    pod = spec["template"]["spec"]
    if "podFailurePolicy" in spec and pod["restartPolicy"] != "Never":
        faults.append("a policy for failures wants pods that do not start again")
    if "successPolicy" in spec and spec["completionMode"] != "Indexed":
        faults.append("a policy for success wants indexed pods")
    for rule in spec["podFailurePolicy"]["rules"]:
        values = rule.get("onExitCodes", {}).get("values", [1])
        if values != sorted(set(values)) or len(values) > 255:
            faults.append("statuses have to be ordered, each once")
    mounts = {mount["name"] for each in pod["containers"] for mount in each["volumeMounts"]}
    if mounts != {volume["name"] for volume in pod["volumes"]}:
        faults.append("a mount and a volume do not match")
    names = [variable["name"] for variable in pod["containers"][0]["env"]]
    if len(names) != len(set(names)):
        faults.append("a variable is set twice")
    gpus = pod["containers"][0]["resources"]
    if gpus["requests"].get("nvidia.com/gpu") != gpus["limits"].get("nvidia.com/gpu"):
        faults.append("GPUs cannot be overcommitted")
    return faults
