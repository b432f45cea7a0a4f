"""The seam to S3: one bucket as a mapping from keys to objects."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from chalicelib.aws import translated
from chalicelib.errors import Conflict, ObjectNotFound, StorageUnavailable

NOT_MODIFIED = "304"


@dataclass(frozen=True)
class StoredObject:
    """An object's bytes and what S3 says of them."""

    body: bytes
    etag: str
    content_type: str
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class ListedObject:
    """What a listing tells of an object."""

    key: str
    etag: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class PresignedPost:
    """A form that a browser or ``curl -F`` can send to the bucket; ``file`` must come last."""

    url: str
    fields: Mapping[str, str]


class ObjectStore:
    """One S3 bucket.

    Parameters
    ----------
    s3 : botocore S3 client
    bucket : str
    """

    def __init__(self, s3: Any, bucket: str) -> None:
        self._s3 = s3
        self.bucket = bucket

    @functools.cached_property
    def origin(self) -> str:
        """Scheme and host under which a browser reaches the bucket."""
        link = urlsplit(self.presigned_get("x", expires_seconds=60))
        return f"{link.scheme}://{link.netloc}"

    def get(self, key: str, version: str = "") -> StoredObject:
        """Read an object; as it is now, or a version of it.

        Raises
        ------
        ObjectNotFound
            There is no such key, or no such version of it.
        """
        with translated(StorageUnavailable, f"reading {key}"):
            return _stored(self._s3.get_object(Bucket=self.bucket, Key=key, **_of_version(version)))

    def get_if_changed(self, key: str, etag: str | None) -> StoredObject | None:
        """Read an object unless it still has the ETag that the caller knows: then ``None``."""
        if etag is None:
            return self.get(key)
        with translated(StorageUnavailable, f"reading {key}"):
            try:
                return _stored(self._s3.get_object(Bucket=self.bucket, Key=key, IfNoneMatch=etag))
            except ClientError as error:
                if error.response["Error"]["Code"] == NOT_MODIFIED:
                    return None
                raise

    def get_range(self, key: str, start: int, stop: int, etag: str, version: str = "") -> bytes:
        """Read the bytes of an object from one place up to, and without, another.

        Raises
        ------
        ObjectNotFound
            There is no such key.
        Conflict
            It has another ETag.
        StorageUnavailable
            It does not answer, or with less than was asked for.
        """
        with translated(StorageUnavailable, f"reading {key}"):
            answer = self._s3.get_object(
                Bucket=self.bucket,
                Key=key,
                Range=f"bytes={start}-{stop - 1}",
                IfMatch=etag,
                **_of_version(version),
            )
            body = bytes(answer["Body"].read())
        if answer["ETag"].strip('"') != etag:  # not every S3 looks at the condition
            raise Conflict(f"reading {key}: it is another by now")
        if len(body) != stop - start:
            raise StorageUnavailable(f"reading {key}: {len(body)} of {stop - start} bytes came")
        return body

    def put(
        self,
        key: str,
        body: bytes,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Write an object whole; readers see the old one or the new one, never half."""
        self._write(key, body, content_type, metadata)

    def begin_parts(self, key: str, content_type: str) -> str:
        """Begin an object that is sent in parts; return the id by which they belong together.

        It is there once it is completed; what is not within a day is cleared away.
        """
        with translated(StorageUnavailable, f"writing {key}"):
            begun = self._s3.create_multipart_upload(
                Bucket=self.bucket, Key=key, ContentType=content_type
            )
        return str(begun["UploadId"])

    def put_part(self, key: str, upload_id: str, number: int, part: bytes) -> str:
        """Send one of up to 10,000 parts, counted from 1, over one that was sent; return its ETag.

        All but the last have at least 5 MiB.

        Raises
        ------
        ObjectNotFound
            There is no such upload any more.
        """
        with translated(StorageUnavailable, f"writing part {number} of {key}"):
            sent = self._s3.upload_part(
                Bucket=self.bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=part
            )
        return str(sent["ETag"]).strip('"')

    def complete_parts(self, key: str, upload_id: str, etags: Sequence[str]) -> None:
        """Make the object of its parts, given by their ETags.

        Raises
        ------
        ObjectNotFound
            There is no such upload any more.
        Conflict
            A part has another ETag by now.
        """
        parts = [{"ETag": f'"{etag}"', "PartNumber": n} for n, etag in enumerate(etags, 1)]
        with translated(StorageUnavailable, f"writing {key}"):
            self._s3.complete_multipart_upload(
                Bucket=self.bucket,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": parts},
            )

    def give_up_parts(self, key: str, upload_id: str) -> None:
        """Clear away parts that will not become an object; those that are gone are no error."""
        with suppress(ObjectNotFound), translated(StorageUnavailable, f"giving up {key}"):
            self._s3.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)

    def put_over(
        self,
        key: str,
        body: bytes,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        *,
        etag: str | None,
    ) -> None:
        """Write an object unless somebody else did meanwhile.

        Parameters
        ----------
        etag : str or None
            Of the object that is there, as far as the caller knows; ``None``: none is.

        Raises
        ------
        Conflict
            There is another.
        """
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        try:
            self._write(key, body, content_type, metadata, **condition)
        except ObjectNotFound as error:
            raise Conflict(f"writing {key}: it is gone") from error

    def _write(
        self,
        key: str,
        body: bytes,
        content_type: str,
        metadata: Mapping[str, str] | None,
        **condition: str,
    ) -> None:
        with translated(StorageUnavailable, f"writing {key}"):
            self._s3.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=body,
                ContentType=content_type,
                Metadata=dict(metadata or {}),
                **condition,
            )

    def copy(self, source: str, target: str) -> None:
        """Write an object of this bucket under another key too, without its bytes passing by.

        Raises
        ------
        ObjectNotFound
            There is no such source.
        """
        with translated(StorageUnavailable, f"copying {source} to {target}"):
            self._s3.copy_object(
                Bucket=self.bucket, Key=target, CopySource={"Bucket": self.bucket, "Key": source}
            )

    def has(self, key: str) -> bool:
        """Tell whether there is an object under a key."""
        try:
            self.size(key)
        except ObjectNotFound:
            return False
        return True

    def put_file(self, key: str, file: BinaryIO, content_type: str) -> None:
        """Write an object out of a file from where it stands, in parts where it is large."""
        with translated(StorageUnavailable, f"writing {key}"):
            self._s3.upload_fileobj(file, self.bucket, key, ExtraArgs={"ContentType": content_type})

    def size(self, key: str, version: str = "") -> int:
        """Return an object's size in bytes without reading it."""
        with translated(StorageUnavailable, f"looking at {key}"):
            head = self._s3.head_object(Bucket=self.bucket, Key=key, **_of_version(version))
            return int(head["ContentLength"])

    def delete(self, key: str, version: str = "") -> None:
        """Remove an object, or one version of it for good; what is gone already is no error."""
        with translated(StorageUnavailable, f"deleting {key}"):
            self._s3.delete_object(Bucket=self.bucket, Key=key, **_of_version(version))

    def erase(self, key: str) -> None:
        """Remove an object with all its older versions; one that is gone already is no error."""
        with translated(StorageUnavailable, f"erasing {key}"):
            listed = self._s3.get_paginator("list_object_versions").paginate(
                Bucket=self.bucket, Prefix=key
            )
            for page in listed:
                for each in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                    if each["Key"] == key:
                        self._s3.delete_object(
                            Bucket=self.bucket, Key=key, VersionId=each["VersionId"]
                        )

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the names one level below a prefix that ends with ``/``."""
        for page in self._pages(prefix, delimiter="/"):
            for found in page.get("CommonPrefixes", []):
                yield found["Prefix"].removeprefix(prefix).rstrip("/")

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield every key below a prefix, in S3's order."""
        for found in self.objects(prefix):
            yield found.key

    def objects(self, prefix: str) -> Iterator[ListedObject]:
        """Yield what is below a prefix, in S3's order."""
        for page in self._pages(prefix, delimiter=""):
            for found in page.get("Contents", []):
                yield ListedObject(
                    found["Key"], found["ETag"], found["Size"], found["LastModified"]
                )

    def _pages(self, prefix: str, delimiter: str) -> Iterator[dict[str, Any]]:
        with translated(StorageUnavailable, f"listing {prefix}"):
            yield from self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix, Delimiter=delimiter
            )

    def presigned_get(self, key: str, expires_seconds: int, file_name: str | None = None) -> str:
        """Return a link that reads one object for a while, without credentials.

        Nothing on the way may keep what it reads: the object may be deleted meanwhile.
        """
        params = {
            "Bucket": self.bucket,
            "Key": key,
            "ResponseCacheControl": "private, no-store",
        }
        if file_name:
            params["ResponseContentDisposition"] = f'inline; filename="{file_name}"'
        with translated(StorageUnavailable, f"signing {key}"):
            return str(
                self._s3.generate_presigned_url(
                    "get_object", Params=params, ExpiresIn=expires_seconds
                )
            )

    def presigned_post(
        self,
        key: str,
        content_type: str,
        max_bytes: int,
        expires_seconds: int,
        fields: Mapping[str, str] | None = None,
    ) -> PresignedPost:
        """Return a form that may write exactly this key, of this type, up to this size.

        Parameters
        ----------
        fields : mapping, optional
            Further form fields that must be sent unchanged, such as ``x-amz-meta-*``.
        """
        fixed = {"Content-Type": content_type, **(fields or {})}
        with translated(StorageUnavailable, f"signing {key}"):
            made = self._s3.generate_presigned_post(
                Bucket=self.bucket,
                Key=key,
                Fields=dict(fixed),
                Conditions=[
                    *({name: value} for name, value in fixed.items()),
                    ["content-length-range", 1, max_bytes],
                ],
                ExpiresIn=expires_seconds,
            )
        return PresignedPost(url=made["url"], fields=made["fields"])


def _of_version(version: str) -> dict[str, str]:
    """Return the argument that names a version; none where an object has none."""
    return {"VersionId": version} if version else {}


def _stored(answer: Mapping[str, Any]) -> StoredObject:
    return StoredObject(
        body=answer["Body"].read(),
        etag=answer["ETag"],
        content_type=answer.get("ContentType", "application/octet-stream"),
        metadata=answer.get("Metadata", {}),
    )
