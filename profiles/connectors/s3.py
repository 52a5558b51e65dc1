"""A bucket that speaks S3 (Amazon, OVH, Scaleway, MinIO…): the objects below a prefix, as a watched folder.

An object appears whole or not at all, so nothing is waited for.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import IO
from urllib.parse import urlsplit

import boto3
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError
from botocore.exceptions import HTTPClientError as NetworkError
from django.utils import timezone
from django.utils.translation import gettext as _

from profiles.connectors import kinds
from profiles.connectors.kinds import ConnectorError, Finding, Found, StillWritten, Vanished
from profiles.models import Connection

PIECE = 256 * 1024
MOST_FILES = 1000


class Bucket:
    """The objects below the prefix, while the client stands."""

    def __init__(self, client, settings: dict):
        self.client = client
        self.bucket = settings["bucket"]
        self.prefix = settings["prefix"].strip("/") + "/" if settings["prefix"].strip("/") else ""

    def found(self) -> list[Found]:
        answer = self.client.list_objects_v2(
            Bucket=self.bucket, Prefix=self.prefix, Delimiter="/", MaxKeys=MOST_FILES
        )
        files = []
        for entry in sorted(answer.get("Contents", []), key=lambda entry: entry["LastModified"]):
            name = entry["Key"].removeprefix(self.prefix)
            if name and not kinds.UNFINISHED.search(name):
                mark = f"{_short(entry['ETag'])}:{entry['LastModified'].timestamp():.0f}"
                files.append(Found(name, entry["Size"], mark, is_whole=True))
        return files

    def seen(self) -> dict[str, str]:
        return {}

    def fetch(self, file: Found, copy: IO[bytes]) -> None:
        try:
            # The very content that was listed: another that took its name meanwhile is another delivery.
            answer = self.client.get_object(Bucket=self.bucket, Key=self.prefix + file.name)
        except ClientError as fault:
            if _code(fault) in ("NoSuchKey", "404"):
                raise Vanished("vanished", _("«%s» was taken away meanwhile") % file.name) from fault
            raise
        with closing(answer["Body"]) as body:
            read = 0
            for piece in body.iter_chunks(PIECE):
                read += len(piece)
                if read > file.size:
                    raise StillWritten("still_written", _("«%s» is still being written") % file.name)
                copy.write(piece)
        copy.flush()
        if not _is_of(answer["ETag"], file):
            raise Vanished("vanished", _("«%s» was replaced meanwhile") % file.name)

    def put_away(self, file: Found, where: str, report: str) -> None:
        here, there = self.prefix + file.name, f"{self.prefix}{where}/{file.name}"
        try:
            tag = self._tag(here)
            if not _is_of(tag, file):
                return  # another object took its name during the import: the next look takes that one in
            if self._exists(there):
                there = f"{self.prefix}{where}/{timezone.now():%Y%m%d-%H%M%S}-{file.name}"
            self.client.copy_object(
                Bucket=self.bucket,
                Key=there,
                CopySource={"Bucket": self.bucket, "Key": here},
                CopySourceIfMatch=tag,
            )
            self.client.put_object(
                Bucket=self.bucket, Key=f"{there}.report.txt", Body=report.encode(), ContentType="text/plain"
            )
            if self._tag(here) == tag:
                self.client.delete_object(Bucket=self.bucket, Key=here)
        except ClientError as fault:
            if _code(fault) in ("NoSuchKey", "404", "PreconditionFailed", "412"):
                return  # somebody has moved or replaced it: what was in it is taken in all the same
            raise ConnectorError(
                "cannot_move",
                _("«%(file)s» was read, but the key may not move it into «%(folder)s»")
                % {"file": file.name, "folder": where},
            ) from fault

    def _tag(self, key: str) -> str:
        return self.client.head_object(Bucket=self.bucket, Key=key)["ETag"]

    def _exists(self, key: str) -> bool:
        answer = self.client.list_objects_v2(Bucket=self.bucket, Prefix=key, MaxKeys=1)
        return any(entry["Key"] == key for entry in answer.get("Contents", []))

    def check_writing(self) -> None:
        """Whether files can be put away: tried with an object of our own."""
        probe = f"{self.prefix}.cdp-test-{timezone.now():%H%M%S%f}.tmp"
        try:
            self.client.put_object(Bucket=self.bucket, Key=probe, Body=b"A test; may be deleted.\n")
            self.client.delete_object(Bucket=self.bucket, Key=probe)
        except ClientError as fault:
            raise ConnectorError(
                "read_only",
                _("the key may not write and delete in the bucket: files could not be moved away"),
            ) from fault


def _short(tag: str) -> str:
    return tag.strip('"')[:40]


def _is_of(tag: str, file: Found) -> bool:
    """Whether this is the tag of the content that was listed."""
    return file.mark.rpartition(":")[0] == _short(tag)


def _code(fault: ClientError) -> str:
    return str(fault.response.get("Error", {}).get("Code", ""))


def _in_words(fault: Exception, settings: dict) -> ConnectorError:
    host = urlsplit(settings["endpoint"]).hostname or "s3.amazonaws.com"
    if isinstance(fault, ClientError):
        bucket = settings["bucket"]
        told = {
            "NoSuchBucket": ("no_bucket", _("there is no bucket «%s»: check its name and region") % bucket),
            "InvalidAccessKeyId": ("auth_refused", _("the access key is not known there")),
            "SignatureDoesNotMatch": (
                "auth_refused",
                _("the secret does not belong to the access key, or the region is wrong"),
            ),
            "AccessDenied": ("no_access", _("the key may not do this in the bucket «%s»") % bucket),
            "403": ("no_access", _("the key may not do this in the bucket «%s»") % bucket),
            "PermanentRedirect": ("wrong_region", _("the bucket lies in another region")),
            "AuthorizationHeaderMalformed": ("wrong_region", _("the bucket lies in another region")),
        }
        code = _code(fault)
        return ConnectorError(
            *told.get(code, ("refused", _("the bucket's host refuses: %s") % (code or fault)))
        )
    if isinstance(fault, ConnectTimeoutError):
        return kinds.in_words(TimeoutError(), host)
    if isinstance(fault, EndpointConnectionError):
        return ConnectorError(
            "unreachable", _("«%s» cannot be reached: check the address and its firewall") % host
        )
    return kinds.in_words(fault, host)


@contextmanager
def open_folder(connection: Connection) -> Iterator[Bucket]:
    """The bucket, ready to be looked into. Raises `ConnectorError`."""
    settings = connection.settings
    try:
        client = _client(connection)
    except (BotoCoreError, ValueError) as fault:
        raise ConnectorError(
            "bad_settings", _("the address or the region cannot be used: %s") % fault
        ) from fault
    with closing(client):
        try:
            yield Bucket(client, settings)
        except (ClientError, NetworkError, BotoCoreError, OSError) as fault:
            raise _in_words(fault, settings) from fault


def _client(connection: Connection):
    settings = connection.settings
    if settings["endpoint"]:
        address = urlsplit(settings["endpoint"])
        kinds.reachable(address.hostname or "", address.port or (443 if address.scheme == "https" else 80))
    return boto3.session.Session().client(
        "s3",
        endpoint_url=settings["endpoint"] or None,
        region_name=settings["region"],
        aws_access_key_id=settings["access_key"],
        aws_secret_access_key=kinds.secret_of(connection),
        config=Config(
            connect_timeout=kinds.CONNECT_SECONDS,
            read_timeout=kinds.READ_SECONDS,
            retries={"max_attempts": 1},
            # Many stores that speak S3 know only addresses with the bucket in the path.
            s3={"addressing_style": "path" if settings["endpoint"] else "auto"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def test(connection: Connection, _request) -> list[Finding]:
    """Reach, sign in, list, read and write."""
    findings: list[Finding] = []
    step = _("Reach the bucket and list it")
    try:
        with open_folder(connection) as bucket:
            files = bucket.found()
            findings.append(Finding(step, True, _("files waiting: %s") % len(files)))
            step = _("Read a file")
            if files:
                key = bucket.prefix + files[-1].name
                with closing(bucket.client.get_object(Bucket=bucket.bucket, Key=key)["Body"]) as body:
                    body.read(1024)
            read = f"«{files[-1].name}»" if files else _("nothing to read: the folder is empty")
            findings.append(Finding(step, True, read))
            step = _("Write, so that files can be moved away")
            bucket.check_writing()
            findings.append(Finding(step, True))
    except ConnectorError as fault:
        findings.append(Finding(step, False, fault.detail))
    return findings
