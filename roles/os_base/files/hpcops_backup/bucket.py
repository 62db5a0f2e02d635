# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies in S3."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .store import MANIFEST, NAME, Backup, Store
from .tools import BackupError

CHUNK = 64 << 20  # what is larger is copied in parts of this size


class Bucket:
    """Copies of backups in S3. Nothing is removed there: that is for the bucket's lifecycle rules."""

    def __init__(self, settings: Mapping[str, Any], job: str) -> None:
        self.settings = settings
        self.bucket: str = settings["bucket"]
        self.prefix = f"{settings.get('prefix', '')}/{job}/".lstrip("/")
        self.place = f"s3://{self.bucket}/{self.prefix}"

    @functools.cached_property
    def client(self) -> Any:
        import boto3

        options = {
            "region_name": self.settings.get("region") or None,
            "aws_access_key_id": self.settings.get("access_key_id") or None,
            "aws_secret_access_key": self.settings.get("secret_access_key") or None,
        }
        if self.settings.get("role_arn"):
            sts = boto3.client("sts", endpoint_url=self.settings.get("sts_endpoint_url") or None, **options)
            keys = sts.assume_role(RoleArn=self.settings["role_arn"], RoleSessionName="hpcops-backup")["Credentials"]
            options["aws_access_key_id"] = keys["AccessKeyId"]
            options["aws_secret_access_key"] = keys["SecretAccessKey"]
            options["aws_session_token"] = keys["SessionToken"]
        return boto3.client("s3", endpoint_url=self.settings.get("endpoint_url") or None, **options)

    @contextlib.contextmanager
    def explained(self, what: str) -> Iterator[None]:
        """Say with what boto3 complains of what was tried."""
        try:
            from boto3.exceptions import Boto3Error
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as error:
            raise BackupError("S3 needs Python's boto3 (package python3-boto3)") from error
        try:
            yield
        except (Boto3Error, BotoCoreError, ClientError) as error:
            raise BackupError(f"{what}: {error}") from error

    def names(self) -> list[str]:
        """Backups that are there as a whole: the manifest comes last."""
        with self.explained(f"{self.place} cannot be listed"):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
            keys = [entry["Key"][len(self.prefix) :] for page in pages for entry in page.get("Contents", [])]
        names = [key.partition("/")[0] for key in keys if key.endswith(f"/{MANIFEST}")]
        return sorted(name for name in names if NAME.fullmatch(name))

    def copy(self, backup: Backup) -> None:
        """Copy a backup, and have S3 tell the checksums of what it got."""
        extra = {"ChecksumAlgorithm": "SHA256"}
        if self.settings.get("server_side_encryption"):
            extra["ServerSideEncryption"] = self.settings["server_side_encryption"]
        if self.settings.get("kms_key_id"):
            extra["SSEKMSKeyId"] = self.settings["kms_key_id"]
        for name in (*backup.manifest["files"], MANIFEST):
            path, key = backup.path / name, f"{self.prefix}{backup.name}/{name}"
            with self.explained(f"{path} cannot be copied to s3://{self.bucket}/{key}"):
                from boto3.s3.transfer import TransferConfig

                parts = TransferConfig(multipart_threshold=CHUNK, multipart_chunksize=CHUNK)
                self.client.upload_file(str(path), self.bucket, key, ExtraArgs=extra, Config=parts)
                head = self.client.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
                told = head.get("ChecksumSHA256") or self.checksum_read_back(key)
            if head["ContentLength"] != path.stat().st_size or told.partition("-")[0] not in checksums(path):
                raise BackupError(f"s3://{self.bucket}/{key} is not what was sent: its checksum is another one")

    def checksum_read_back(self, key: str) -> str:
        """For services that keep none."""
        digest = hashlib.sha256()
        for block in self.client.get_object(Bucket=self.bucket, Key=key)["Body"].iter_chunks(1 << 20):
            digest.update(block)
        return base64.b64encode(digest.digest()).decode()

    def fetch(self, name: str, store: Store) -> None:
        """Bring a backup back."""
        with store.partial(name) as folder, self.explained(f"{self.place}{name} cannot be fetched"):
            manifest = folder / MANIFEST
            self.client.download_file(self.bucket, f"{self.prefix}{name}/{MANIFEST}", str(manifest))
            for file in json.loads(manifest.read_text(encoding="utf-8"))["files"]:
                target = folder / Path(file).name
                self.client.download_file(self.bucket, f"{self.prefix}{name}/{target.name}", str(target))


def checksums(path: Path) -> set[str]:
    """What S3 may tell of a file: the checksum of all of it, or that of the checksums of its parts."""
    whole, of_parts = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            whole.update(chunk)
            of_parts.update(hashlib.sha256(chunk).digest())
    return {base64.b64encode(digest.digest()).decode() for digest in (whole, of_parts)}
