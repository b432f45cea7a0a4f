"""The stand-in for AWS answers signed requests of programs; browsers reach forms and pictures."""

from __future__ import annotations

import stat
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from local.standin import ACCESS_KEY

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
Stack = Any
JPEG = {"Content-Type": "image/jpeg"}
READ_SECRET = {"X-Amz-Target": "secretsmanager.GetSecretValue"}
SECRET = b'{"SecretId": "sightloop-local"}'
TYPE = {"Content-Type": "application/x-amz-json-1.1"}


def signed(stack: Stack, secret_key: str, **more: str) -> dict[str, str]:
    """Return the headers of a request for the operators' secret."""
    request = AWSRequest("POST", f"{stack.aws_url}/", TYPE | READ_SECRET | more, SECRET)
    keys = Credentials(ACCESS_KEY, secret_key)
    SigV4Auth(keys, "secretsmanager", "eu-central-1").add_auth(request)
    return dict(request.headers.items())


def read_secret(stack: Stack, headers: dict[str, str]) -> requests.Response:
    return requests.post(f"{stack.aws_url}/", SECRET, headers=headers, timeout=20)


def own_key(stack: Stack) -> str:
    return str((stack.home / "aws.secret").read_text(encoding="utf-8"))


def kept(stack: Stack, photo: bytes) -> dict[str, Any]:
    """Return a prediction that is kept, with its links."""
    path = "/v1/models/scratch/detections?keep=true"
    answer = stack.post(path, data=photo, headers=JPEG).json()
    return dict(stack.get(f"/v1/predictions/{answer['prediction_id']}").json())


def directly(stack: Stack, link: str) -> str:
    """Return a link of ours as the stand-in signed it."""
    return link.replace(f"{stack.url}/aws/", f"{stack.aws_url}/")


def test_a_signed_request_of_a_program_is_answered(stack: Stack) -> None:
    response = read_secret(stack, signed(stack, own_key(stack)))

    assert response.status_code == 200
    assert "operators" in response.text


def test_no_one_else_reads_the_operators_token(stack: Stack) -> None:
    good = signed(stack, own_key(stack))
    for headers in (
        TYPE | READ_SECRET,
        signed(stack, "test"),
        good | {"Origin": "https://evil.example"},
        good | {"Sec-Fetch-Site": "same-origin"},
        good | {"Host": "evil.example"},
        good | {"Host": f"evil.example:{urlsplit(stack.aws_url).port}"},
        good | {"X-Amz-Date": "20200101T000000Z"},
        TYPE | READ_SECRET | {"Authorization": good["Authorization"].replace(ACCESS_KEY, "test")},
    ):
        response = read_secret(stack, headers)
        assert response.status_code == 403
        assert "Access-Control-Allow-Origin" not in response.headers
        assert "operators" not in response.text
    another = requests.post(f"{stack.aws_url}/", SECRET[:-1] + b" }", headers=good, timeout=20)
    assert another.status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/_ministack/reset"),
        ("GET", "/_ministack/config"),
        ("GET", "/"),
        ("GET", "/sightloop-local-store?list-type=2"),
        ("PUT", "/sightloop-local-store/x"),
        ("OPTIONS", "/sightloop-local-store/x"),
        ("DELETE", "/sightloop-local-store"),
        ("POST", "/?Action=ListQueues"),
    ],
)
def test_nothing_is_answered_unsigned(stack: Stack, method: str, path: str) -> None:
    response = requests.request(method, stack.aws_url + path, timeout=20)

    assert response.status_code == 403
    assert "Access-Control-Allow-Origin" not in response.headers


def test_a_client_with_other_keys_is_refused(stack: Stack) -> None:
    for key, secret in (("test", "test"), (ACCESS_KEY, "local"), ("000000000000", "x")):
        s3 = boto3.client(
            "s3",
            endpoint_url=stack.aws_url,
            region_name="eu-central-1",
            aws_access_key_id=key,
            aws_secret_access_key=secret,
        )
        with pytest.raises(ClientError, match="signature does not match"):
            s3.list_buckets()


def test_pictures_come_through_our_server_whatever_its_name(stack: Stack, photo: bytes) -> None:
    links = kept(stack, photo)["links"]
    assert links["image"].startswith(f"{stack.url}/aws/sightloop-local-store/")

    response = requests.get(links["image"], headers={"Sec-Fetch-Site": "same-origin"}, timeout=20)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "image/jpeg"
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    foreign = requests.get(links["image"], headers={"Sec-Fetch-Site": "cross-site"}, timeout=20)
    assert foreign.status_code == 403
    port = urlsplit(stack.url).port
    told = requests.get(
        f"{stack.url}/v1/predictions/{kept(stack, photo)['prediction_id']}",
        headers={"Host": f"localhost:{port}"},
        timeout=20,
    ).json()
    assert told["links"]["image"].startswith(f"http://localhost:{port}/aws/")
    assert requests.get(told["links"]["image"], timeout=20).status_code == 200


def test_only_what_was_signed_passes_our_server(stack: Stack, photo: bytes) -> None:
    link = kept(stack, photo)["links"]["image"]
    plain = link.partition("?")[0]
    for method, url in (
        ("GET", plain),
        ("GET", f"{plain}?X-Amz-Signature=0"),
        ("GET", link.replace("image.jpg", "annotated.jpg")),
        ("GET", link[:-1] + ("0" if link[-1] != "0" else "1")),
        ("DELETE", link),
        ("PUT", link),
        ("GET", f"{stack.url}/aws/"),
        ("GET", f"{stack.url}/aws/_ministack/config?X-Amz-Signature=0"),
        ("POST", f"{stack.url}/aws/_ministack/reset"),
        ("POST", f"{stack.url}/aws/sightloop-local-store"),
    ):
        headers = READ_SECRET | {"Content-Type": "multipart/form-data; boundary=x"}
        assert requests.request(method, url, headers=headers, timeout=20).status_code == 403


def test_a_link_works_for_programs_and_names_no_other_service(stack: Stack, photo: bytes) -> None:
    link = directly(stack, kept(stack, photo)["links"]["image"])

    assert requests.get(link, timeout=20).content.startswith(b"\xff\xd8")
    assert requests.get(link, headers=READ_SECRET, timeout=20).content.startswith(b"\xff\xd8")
    for headers in ({"Origin": "null"}, {"Sec-Fetch-Site": "none"}, {"Host": "evil.example"}):
        assert requests.get(link, headers=headers, timeout=20).status_code == 403


@pytest.mark.parametrize("way", ["our server", "the stand-in"])
def test_a_form_is_taken_only_as_it_was_signed(stack: Stack, photo: bytes, way: str) -> None:
    wanted = {"model": "scratch", "file_name": "a.jpg", "content_type": "image/jpeg"}
    form = stack.post("/v1/uploads", json=wanted).json()["upload"]
    url = form["url"] if way == "our server" else directly(stack, form["url"])

    def send(fields: dict[str, str]) -> int:
        files = {"file": ("a.jpg", photo, "image/jpeg")}
        return requests.post(url, data=fields, files=files, timeout=20).status_code

    fields = dict(form["fields"])
    assert form["url"].startswith(f"{stack.url}/aws/")
    assert send({}) >= 400
    assert send({"key": "uploads/scratch/x/a.jpg", "Content-Type": "image/jpeg"}) >= 400
    assert send(fields | {"key": "uploads/scratch/other/a.jpg"}) >= 400
    assert send(fields | {"x-amz-signature": "0" * 64}) >= 400
    other_key = fields["x-amz-credential"].replace(ACCESS_KEY, "test")
    assert send(fields | {"x-amz-credential": other_key}) >= 400
    assert send(fields) == 204


def test_what_is_secret_is_for_its_owner_only(stack: Stack) -> None:
    for name in ("logs", "aws", "aws.secret", "postgres.secret", "telegram.secret"):
        mode = stat.S_IMODE((stack.home / name).stat().st_mode)
        assert not mode & 0o077, name
