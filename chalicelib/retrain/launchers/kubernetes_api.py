"""The seam to a cluster's API: plain HTTPS, with a token that AWS signs.

A token is a signed request to STS, which the cluster sends on to learn whose it is: as
`aws eks get-token` makes them, and as clusters of kOps take them with AWS's authenticator. The
official client for Python is too large for a Lambda's package (docs/adr/0008-training-jobs.md).
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import urllib3
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import ConfigurationError, SightloopError, Unavailable

TOKEN_SECONDS = 60  # to begin to use it; the cluster takes it for a quarter of an hour
TIMEOUT_SECONDS = 10.0
REFUSED_BY_EKS = frozenset({"ResourceNotFoundException", "AccessDeniedException"})
REFUSED = frozenset({400, 401, 403, 405, 415, 422})


@dataclass(frozen=True)
class Answer:
    """What the API answered.

    Attributes
    ----------
    status : int
        Of HTTP.
    document : dict
        An object, or a `Status` that says what is wrong.
    """

    status: int
    document: dict[str, Any]


class KubernetesApi:
    """The API of one cluster.

    Parameters
    ----------
    url : str
        Such as `https://ABC.gr7.eu-central-1.eks.amazonaws.com`.
    ca : str
        Who signed for it: PEM, in base64.
    token : callable
        Returns a bearer token.

    Raises
    ------
    ConfigurationError
        The certificate is none, or the address is not HTTPS.
    """

    def __init__(self, url: str, ca: str, token: Callable[[], str]) -> None:
        if not url.startswith("https://"):
            raise ConfigurationError(f"SIGHTLOOP_CLUSTER_URL is {url!r}: it has to be https://…")
        self._url = url.rstrip("/")
        self._token = token
        self._pool = urllib3.PoolManager(
            ssl_context=_trusting(ca), timeout=TIMEOUT_SECONDS, retries=False
        )

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        """Make a call.

        Parameters
        ----------
        method : str
        path : str
            With its query.
        body : dict, optional
            Sent as JSON.

        Returns
        -------
        Answer
            A success, or one of 404 and 409: what those mean the caller knows.

        Raises
        ------
        ConfigurationError
            The cluster refuses it: who we are, or what we ask.
        Unavailable
            The cluster does not answer.
        """
        headers = {"Authorization": f"Bearer {self._token()}", "Accept": "application/json"}
        sent = None if body is None else json.dumps(body).encode()
        if sent is not None:
            headers["Content-Type"] = "application/json"
        try:
            told = self._pool.request(
                method, self._url + path, body=sent, headers=headers, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"the cluster at {self._url} does not answer: {error}") from error
        answer = Answer(told.status, _document(told.data))
        if not (200 <= answer.status < 300 or answer.status in (404, 409)):
            raise _refusal(answer, f"{method} {path}")
        return answer


class ClusterToken:
    """Makes tokens for a cluster, of whoever the client's credentials are.

    Parameters
    ----------
    sts : botocore STS client
        For this alone: what it signs from now on names the cluster.
    cluster : str
        Its name.
    """

    def __init__(self, sts: Any, cluster: str) -> None:
        self._sts = sts
        self._cluster = cluster
        sts.meta.events.register("before-sign.sts.GetCallerIdentity", self._name_cluster)

    def __call__(self) -> str:
        """Return a token.

        Raises
        ------
        Unavailable
            There are no credentials at the moment.
        """
        try:
            signed = str(
                self._sts.generate_presigned_url(
                    "get_caller_identity", ExpiresIn=TOKEN_SECONDS, HttpMethod="GET"
                )
            )
        except BotoCoreError as error:
            what = f"no token could be signed for the cluster {self._cluster}"
            raise Unavailable(f"{what}: {error}") from error
        return "k8s-aws-v1." + base64.urlsafe_b64encode(signed.encode()).decode().rstrip("=")

    def _name_cluster(self, request: Any, **_: Any) -> None:
        request.headers["x-k8s-aws-id"] = self._cluster


def eks_address(eks: Any, cluster: str) -> tuple[str, str]:
    """Return where a cluster of EKS is, and who signed for it.

    Raises
    ------
    ConfigurationError
        There is none of that name, it is not ready, or we may not look.
    Unavailable
        EKS does not answer.
    """
    what = f"looking up the cluster {cluster}"
    try:
        told = eks.describe_cluster(name=cluster)["cluster"]
    except ClientError as error:
        if error.response["Error"]["Code"] in REFUSED_BY_EKS:
            raise ConfigurationError(f"{what}: {error}") from error
        raise Unavailable(f"{what}: {error}") from error
    except BotoCoreError as error:
        raise Unavailable(f"{what}: {error}") from error
    if not told.get("endpoint"):
        raise Unavailable(f"{what}: it is {told.get('status')} and has no address yet")
    return str(told["endpoint"]), str(told["certificateAuthority"]["data"])


def _trusting(ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=base64.b64decode(ca, validate=True).decode())
    except (ValueError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"SIGHTLOOP_CLUSTER_CA is no certificate in base64, as a kubeconfig has it: {error}"
        ) from error


def _document(text: bytes) -> dict[str, Any]:
    """Return what was answered, which a proxy on the way may have worded as something else."""
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    return told if isinstance(told, dict) else {"message": text[:500].decode(errors="replace")}


def _refusal(answer: Answer, what: str) -> SightloopError:
    said = f"the cluster answers {what} with {answer.status}: {answer.document.get('message')}"
    if answer.status == 401:
        said += "; its access entries, or its authenticator, have to know this function's role"
    if answer.status == 403:
        said += "; apply gpu_cluster/training, and give this function's role its group"
    return ConfigurationError(said) if answer.status in REFUSED else Unavailable(said)
