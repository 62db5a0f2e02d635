# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of backups in S3 and back, as moto imitates it over HTTP."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from hpcops_backup import bucket as bucket_module
from hpcops_backup.bucket import Bucket
from hpcops_backup.job import Job
from hpcops_backup.store import MANIFEST
from hpcops_backup.tools import BackupError
from moto.server import ThreadedMotoServer

KEYS = {"access_key_id": "AKIABACKUP", "secret_access_key": "secret-of-the-backup"}


@pytest.fixture(name="endpoint", scope="module")
def endpoint_fixture() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(name="client")
def client_fixture(endpoint: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEYS["access_key_id"],
        aws_secret_access_key=KEYS["secret_access_key"],
    )


@pytest.fixture(name="s3")
def s3_fixture(endpoint: str, client: Any) -> dict[str, str]:
    """Settings for a bucket of the test's own."""
    name = f"backups-{uuid.uuid4()}"
    client.create_bucket(Bucket=name)
    return {"bucket": name, "prefix": "site/hpc", "region": "us-east-1", "endpoint_url": endpoint, **KEYS}


def job_of(tmp_path: Path, s3: Mapping[str, str], folder: str = "backups") -> Job:
    source = tmp_path / "state"
    source.mkdir(exist_ok=True)
    (source / "job_state").write_text("jobs")
    settings = {
        "kind": "trees",
        "trees": {"state": {"path": str(source)}},
        "restorable": "state",
        "directory": str(tmp_path / folder),
        "status_file": str(tmp_path / f"{folder}.json"),
        "keep": 9,
        "keep_days": 0,
        "s3": s3,
    }
    (tmp_path / "state.json").write_text(json.dumps(settings))
    return Job(tmp_path / "state.json")


def keys(client: Any, bucket: str) -> list[str]:
    return [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket).get("Contents", [])]


def test_backup_is_copied_whole_and_encrypted(tmp_path: Path, client: Any, s3: dict[str, str]) -> None:
    job = job_of(tmp_path, {**s3, "server_side_encryption": "AES256"})
    assert f"to s3://{s3['bucket']}/site/hpc/state/" in job.make()
    backup = job.store.backups()[0]
    prefix = f"site/hpc/state/{backup.name}"
    assert keys(client, s3["bucket"]) == [f"{prefix}/{MANIFEST}", f"{prefix}/state.tar.zst"]
    head = client.head_object(Bucket=s3["bucket"], Key=f"{prefix}/state.tar.zst")
    assert head["ServerSideEncryption"] == "AES256"
    assert [entry["places"] for entry in job.entries()] == [["local", "s3"]]


def test_another_host_fetches_the_newest_and_restores_it(tmp_path: Path, s3: dict[str, str]) -> None:
    job_of(tmp_path, s3).make()
    other = job_of(tmp_path, s3, "elsewhere")
    (tmp_path / "state" / "job_state").write_text("others")
    assert [entry["places"] for entry in other.entries()] == [["s3"]]
    other.restore("newest", safety=True)
    assert (tmp_path / "state" / "job_state").read_text() == "jobs"


def test_damaged_local_backup_is_fetched_again(tmp_path: Path, s3: dict[str, str]) -> None:
    job = job_of(tmp_path, s3)
    job.make()
    path = job.store.backups()[0].path
    (path / "state.tar.zst").write_text("cut")
    assert job.verify(path.name) == f"{path.name} is whole"


def test_large_file_goes_in_parts_whose_checksums_agree(
    tmp_path: Path, client: Any, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "CHUNK", 5 << 20)  # the smallest part that S3 takes
    job = job_of(tmp_path, s3)
    (tmp_path / "state" / "noise").write_bytes(os.urandom(12 << 20))
    job.make()
    backup = job.store.backups()[0]
    key = f"site/hpc/state/{backup.name}/state.tar.zst"
    head = client.head_object(Bucket=s3["bucket"], Key=key, ChecksumMode="ENABLED", PartNumber=1)
    assert head["PartsCount"] == 3
    other = job_of(tmp_path, s3, "elsewhere")
    other.verify("newest")


@pytest.mark.parametrize("told", ["c29tZXRoaW5nIGVsc2U=", ""])
def test_object_that_is_not_what_was_sent_is_found(
    tmp_path: Path, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    """Also at a service that keeps no checksums."""
    job = job_of(tmp_path, s3)
    assert job.bucket
    client = job.bucket.client

    class Garbling:
        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

        def head_object(self, **arguments: Any) -> dict[str, Any]:
            return {**client.head_object(**arguments), "ChecksumSHA256": told}

        def get_object(self, **arguments: Any) -> Any:
            client.put_object(Bucket=arguments["Bucket"], Key=arguments["Key"], Body=b"something else")
            return client.get_object(**arguments)

    monkeypatch.setattr(job.bucket, "client", Garbling())
    with pytest.raises(BackupError, match="is not what was sent: its checksum is another one"):
        job.make()
    assert len(job.store.backups()) == 1


def test_copy_that_failed_is_made_up_for(tmp_path: Path, client: Any, s3: dict[str, str]) -> None:
    broken = job_of(tmp_path, {**s3, "bucket": "none-of-ours"})
    with pytest.raises(BackupError, match=r"the backup is in .*, but .*s3://none-of-ours/.*NoSuchBucket"):
        broken.make()
    assert broken.status()["backup"]["last_result"] == 0
    assert broken.status()["backup"]["last_success"] > 0
    job = job_of(tmp_path, s3)
    job.make()
    assert len(keys(client, s3["bucket"])) == 4


def test_copy_that_was_cut_off_does_not_count(tmp_path: Path, client: Any, s3: dict[str, str]) -> None:
    client.put_object(Bucket=s3["bucket"], Key="site/hpc/state/20260101T000000Z/state.tar.zst", Body=b"half")
    job = job_of(tmp_path, s3)
    assert job.entries() == []
    with pytest.raises(BackupError, match="has no good backup 'newest'; there are: none"):
        job.find("newest")


def test_role_is_assumed(tmp_path: Path, s3: dict[str, str]) -> None:
    role = {"role_arn": "arn:aws:iam::111122223333:role/backup", "sts_endpoint_url": s3["endpoint_url"]}
    assumed = Bucket({**s3, **role}, "state")
    access = assumed.client._request_signer._credentials.access_key
    assert access.startswith("ASIA")
    assert assumed.names() == []


def test_service_that_does_not_answer_is_named(tmp_path: Path, s3: dict[str, str]) -> None:
    bucket = Bucket({**s3, "endpoint_url": "http://127.0.0.1:1"}, "state")
    with pytest.raises(BackupError, match=r"s3://.*/site/hpc/state/ cannot be listed: Could not connect"):
        bucket.names()
