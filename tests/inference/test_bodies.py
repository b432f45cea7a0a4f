"""Images out of requests: forms as clients write them, and base64 as people paste it."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import InvalidRequest, PayloadTooLarge, SightloopError
from chalicelib.inference.bodies import (
    ImagePart,
    ImagesBody,
    NamedImage,
    OneImage,
    SeveralImages,
    form_images,
)

TYPE = "multipart/form-data; boundary=cut"
MOST = 3
PHOTO = bytes(range(256)) * 40 + b"\r\n--cu\r\n"


def part(disposition: str, body: bytes = PHOTO, *headers: str) -> bytes:
    lines = [f"Content-Disposition: form-data; {disposition}", *headers]
    return b"--cut\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + body + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--cut--\r\n"


def read(body: bytes, content_type: str = TYPE) -> list[NamedImage]:
    return form_images(content_type, body, MOST)


def test_a_file_comes_out_byte_for_byte_under_its_name() -> None:
    body = form(part('name="image"; filename="tag.jpg"', PHOTO, "Content-Type: image/jpeg"))

    assert read(body) == [NamedImage("tag.jpg", PHOTO)]


def test_several_files_come_out_in_order_whatever_their_fields_are_called() -> None:
    parts = [part(f'name="{field}"; filename="{field}.png"') for field in ("image", "b", "c")]

    assert [image.name for image in read(form(*parts))] == ["image.png", "b.png", "c.png"]


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('name="image"; filename="Étiquette 写真.jpg"', "Étiquette 写真.jpg"),
        ("name=\"image\"; filename*=UTF-8''tag.jpg", "0"),  # RFC 7578 forbids the spelling
        ('name="image"; filename="a;b=c.jpg"', "a;b=c.jpg"),
        ('name="image"; filename=""', "0"),
        ('name="image"', "0"),
        ('name="images"', "0"),
        ('name="file"; filename="../../etc/passwd"', "../../etc/passwd"),
    ],
)
def test_file_names_come_back_as_clients_write_them(disposition: str, name: str) -> None:
    assert read(form(part(disposition))) == [NamedImage(name, PHOTO)]


def test_a_file_sent_as_base64_in_a_form_is_decoded() -> None:
    encoded = part(
        'name="image"; filename="a"', base64.b64encode(PHOTO), "Content-Transfer-Encoding: base64"
    )

    assert read(form(encoded))[0].data == PHOTO


def test_an_option_in_the_form_is_refused_rather_than_overlooked() -> None:
    body = form(part('name="image"; filename="a"'), part('name="confidence"', b"0.5"))

    with pytest.raises(InvalidRequest, match="options such as confidence in the query"):
        read(body)


def test_too_many_files_are_refused() -> None:
    with pytest.raises(PayloadTooLarge, match="at most 3 images"):
        read(form(*[part('name="image"; filename="a"')] * (MOST + 1)))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--cut--\r\n",
        b"no form at all",
        part('name="image"; filename="a"'),
        form(part('name="image"; filename="a"'))[:-20],
        b"--cut\r\n\r\n\r\n--cut--\r\n",
        b"--cut\r\nContent-Disposition\r\n\r\n\r\n--cut--\r\n",
        b"--cut\r\n" + b"X: y\r\n" * 100 + b"\r\n\r\n--cut--\r\n",
        b"--cut\r\nX: " + b"y" * 100_000 + b"\r\n\r\n\r\n--cut--\r\n",
        form(b"--cut\r\nContent-Type: image/jpeg\r\n\r\nno disposition\r\n"),
        form(part('filename="no field name"')),
    ],
)
def test_a_form_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="form"):
        read(body)


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=other",
        "multipart/form-data; boundary=" + "x" * 5000,
        "multipart/form-data; boundary=ü",
        "multipart/form-data; boundary=\u5199",
        'multipart/form-data; boundary="cut',
    ],
)
def test_a_form_whose_boundary_is_not_told_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidRequest, match="form"):
        read(form(part('name="image"; filename="a"')), content_type)


@given(st.data())
def test_a_damaged_form_is_read_or_refused(data: st.DataObject) -> None:
    body = bytearray(
        form(part('name="image"; filename="a"', b"abc"), part('name="b"; filename="c"'))
    )
    for _ in range(data.draw(st.integers(1, 6))):
        body[data.draw(st.integers(0, 120))] = data.draw(st.integers(0, 255))
    try:
        assert all(isinstance(image.data, bytes) for image in read(bytes(body)))
    except SightloopError as refused:
        assert refused.status < 500


ENCODED = base64.b64encode(PHOTO).decode()


@pytest.mark.parametrize(
    "text",
    [
        ENCODED,
        base64.encodebytes(PHOTO).decode(),
        f"data:image/jpeg;base64,{ENCODED}",
        f"data:image/jpeg;name=a.jpg;base64,{ENCODED}",
        f"  {ENCODED}\r\n",
    ],
    ids=["plain", "in lines", "data URL", "data URL with a name", "padded with spaces"],
)
def test_base64_is_taken_as_people_paste_it(text: str) -> None:
    assert ImagesBody(image=text).named() == [NamedImage("", PHOTO)]


@pytest.mark.parametrize(
    "text", ["not base64!", "YWJj\x00", "YWJ", "ä", "data:image/jpeg,abc", "====", "YWJj=YWJj"]
)
def test_what_is_not_base64_is_refused_and_named(text: str) -> None:
    body = ImagesBody.model_validate({"images": [{"data": "YWJj"}, {"data": text}]})

    with pytest.raises(InvalidRequest, match=r"body\.images\.1\.data is not base64"):
        body.named()


def test_both_documented_bodies_are_read() -> None:
    one, several = OneImage(image="YWJj"), SeveralImages(images=[ImagePart(name="a", data="YWJj")])

    for body, name in ((one, ""), (several, "a")):
        read = ImagesBody.model_validate_json(body.model_dump_json())
        assert read.named() == [NamedImage(name, b"abc")]
    documented = set(OneImage.model_fields) | set(SeveralImages.model_fields)
    assert documented == set(ImagesBody.model_fields)


def test_images_without_a_name_are_called_by_their_place() -> None:
    body = ImagesBody.model_validate(
        {"images": [{"data": "YWJj"}, {"data": "YWJj", "name": "b.jpg"}, {"data": "YWJj"}]}
    )

    assert [image.name for image in body.named()] == ["0", "b.jpg", "2"]
