# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs submit, watch and read jobs over REST, each as the user of its token, and nobody else does."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import DISTRO, PREFIX, container, eventually, names
from ansible_collections.hpcops.cluster.tests.support.runs import Run, run_playbook

if TYPE_CHECKING:
    from testinfra.host import Host

VERSION = {"bookworm": "v0.0.38", "trixie": "v0.0.42", "forky": "v0.0.45"}[DISTRO]
# Up to 22.05 accounting has versions of its own, a job's script is outside of the job, and times are plain numbers.
OLD = DISTRO == "bookworm"
ACCOUNTING = f"/slurmdb/{VERSION}"
# It is slurmctld that looks at a token; 22.05 tells of its refusal as of any failure.
REFUSED = 500 if OLD else 401
REST = names("slurmrestd")[0]
CONTROLLER = names("slurmctld")[0]
STATE = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
testinfra_hosts = [f"docker://{PREFIX}{REST}"]
HOSTNAME = REST.rpartition("-")[2]
OUTSIDE = f"https://{HOSTNAME}:6843"
TRUST = "--cacert /etc/slurmrestd/ca.crt"


def token(user: str, lifespan: int = 600) -> str:
    """A token from the playbook that issues them."""
    path = STATE / f"{user}.token"
    variables = {"token_user": user, "token_file": str(path), "token_lifespan": lifespan}
    run = run_playbook(variables=variables, playbook="hpcops.cluster.issue_token").succeeded()
    text = path.read_text(encoding="utf-8").strip()
    assert text not in run.text, "the token is in what the run printed"
    assert path.stat().st_mode & 0o077 == 0
    return text


@pytest.fixture(name="alice", scope="module")
def alice_fixture() -> str:
    return token("alice")


@pytest.fixture(name="bob", scope="module")
def bob_fixture() -> str:
    return token("bob")


def curl(host: Host, path: str, *options: str, who: tuple[str, str] | None = None) -> tuple[int, Any]:
    """The status and the answer of a request over TLS."""
    headers = [f"X-SLURM-USER-NAME: {who[0]}", f"X-SLURM-USER-TOKEN: {who[1]}"] if who else []
    arguments = [*options, *(part for header in headers for part in ("--header", header))]
    command = f"curl --silent {TRUST} --write-out '\\n%{{http_code}}' {shlex.join(arguments)} '{OUTSIDE}{path}'"
    body, _newline, status = str(host.check_output(command)).rpartition("\n")
    try:
        return int(status), json.loads(body)
    except ValueError:
        return int(status), body


def submission(script: str) -> str:
    job: dict[str, Any] = {"name": "rest", "current_working_directory": "/tmp", "tasks": 1, "time_limit": 5}
    environment = ["PATH=/usr/bin:/bin"]
    if OLD:
        job["environment"] = {"PATH": "/usr/bin:/bin"}
        document = {"script": script, "job": job}
    else:
        job["environment"] = environment
        document = {"job": {**job, "script": script}}
    return json.dumps(document)


def submit(host: Host, who: tuple[str, str], script: str) -> int:
    options = ("--header", "Content-Type: application/json", "--data", submission(script))
    status, answer = curl(host, f"/slurm/{VERSION}/job/submit", *options, who=who)
    assert status == 200, answer
    return int(answer["job_id"])


def state_of(answer: Any) -> str:
    state = (
        answer["jobs"][0]["job_state"] if "job_state" in answer["jobs"][0] else answer["jobs"][0]["state"]["current"]
    )
    return str(state[0] if isinstance(state, list) else state)


def test_job_is_submitted_watched_and_read_back_from_accounting(host: Host, alice: str) -> None:
    who = ("alice", alice)
    number = submit(host, who, "#!/bin/sh\nid -un >/tmp/who\n")

    def watched() -> str:
        _status, answer = curl(host, f"/slurm/{VERSION}/job/{number}", who=who)
        return state_of(answer)

    eventually(watched, lambda state: state == "COMPLETED")
    assert container(names("slurmd")[0]).file("/tmp/who").content_string.strip() == "alice"

    def recorded() -> str:
        _status, answer = curl(host, f"{ACCOUNTING}/job/{number}", who=who)
        return state_of(answer) if answer["jobs"] else ""

    eventually(recorded, lambda state: state == "COMPLETED")


def test_nobody_gets_in_without_a_valid_token(host: Host, alice: str) -> None:
    path = f"/slurm/{VERSION}/diag"
    assert curl(host, path, who=("alice", alice))[0] == 200
    assert curl(host, path)[0] == 401
    forged = alice[:-4] + ("AAAA" if not alice.endswith("AAAA") else "BBBB")
    assert curl(host, path, who=("alice", forged))[0] == REFUSED
    short = token("alice", lifespan=1)
    eventually(lambda: curl(host, path, who=("alice", short))[0], lambda status: status == REFUSED)


def test_token_of_another_user_controls_no_job_of_the_first(host: Host, alice: str, bob: str) -> None:
    number = submit(host, ("alice", alice), "#!/bin/sh\nsleep 300\n")
    controller = container(CONTROLLER)
    look = f"squeue --noheader --jobs={number} --format=%T"
    eventually(lambda: controller.check_output(look).strip(), lambda state: state == "RUNNING")
    path = f"/slurm/{VERSION}/job/{number}"
    curl(host, path, "--request", "DELETE", who=("bob", bob))
    assert controller.check_output(look).strip() == "RUNNING"
    # A name that is not the token's does not help.
    curl(host, path, "--request", "DELETE", who=("alice", bob))
    assert controller.check_output(look).strip() == "RUNNING"
    assert curl(host, path, "--request", "DELETE", who=("alice", alice))[0] == 200
    eventually(lambda: controller.check_output(look).strip() in ("", "CANCELLED", "COMPLETING"))


def test_slurmrestd_can_do_nothing_else_and_listens_on_its_own_host_alone(host: Host) -> None:
    pid = host.check_output("systemctl show --property=MainPID --value slurmrestd")
    text = host.file(f"/proc/{pid}/status").content_string
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    account = host.user("slurmrestd")
    assert fields["Uid"].split()[0] == str(account.uid)
    assert [group for group in fields["Groups"].split() if group != str(account.gid)] == []
    assert (fields["NoNewPrivs"], int(fields["CapBnd"], 16)) == ("1", 0)
    assert host.socket("tcp://127.0.0.1:6820").is_listening
    assert not host.socket("tcp://0.0.0.0:6820").is_listening
    assert container(names("slurmd")[0]).run(f"timeout 3 bash -c '</dev/tcp/{HOSTNAME}/6820'").rc != 0


def test_socket_answers_local_programs(host: Host, alice: str) -> None:
    headers = f"--header 'X-SLURM-USER-NAME: alice' --header 'X-SLURM-USER-TOKEN: {alice}'"
    ask = f"curl --silent --output /dev/null --write-out '%{{http_code}}' --unix-socket /run/slurmrestd/slurmrestd.socket {headers}"
    assert host.check_output(f"runuser -u bob -- {ask} http://localhost/slurm/{VERSION}/diag") == "200"


def test_proxy_limits_what_one_client_sends(host: Host, alice: str) -> None:
    host.check_output("head --bytes=2000000 /dev/zero >/tmp/large")
    status, _answer = curl(host, f"/slurm/{VERSION}/job/submit", "--data-binary", "@/tmp/large", who=("alice", alice))
    assert status == 413
    assert host.run(f"curl --silent --max-time 5 {OUTSIDE}/").rc == 60, "the certificate is not asked for"
    assert host.run(f"curl --silent --max-time 5 http://{HOSTNAME}/").rc == 7, "something answers on port 80"


def test_proxy_lets_no_client_take_all_of_it(host: Host, alice: str) -> None:
    flood = f"curl --silent --parallel --parallel-max 250 --output /dev/null --write-out '%{{http_code}}\n' {TRUST}"
    seen = host.run(f"{flood} '{OUTSIDE}/openapi?[1-700]'").stdout.split()
    assert {"401", "500"} & set(seen), "none was let through"
    assert "429" in seen
    eventually(lambda: curl(host, f"/slurm/{VERSION}/diag", who=("alice", alice))[0], lambda status: status == 200)


def test_key_that_signs_is_readable_by_slurm_alone(host: Host) -> None:
    for daemon in ("slurmctld", "slurmdbd"):
        key = container(CONTROLLER).file(f"/etc/slurm/{daemon}-jwt.key")
        assert (key.user, key.mode) == ("slurm", 0o600)
        assert REST == CONTROLLER or not host.file(key.path).exists


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"token_file": "/dev/null"}, 'token_user: ""'),
        ({"token_user": "alice"}, "token_file is not given"),
        ({"token_user": "alice", "token_file": "/dev/null", "token_lifespan": "long"}, 'token_lifespan: "long"'),
    ],
)
def test_wrong_request_for_a_token_is_named(variables: dict[str, str], says: str) -> None:
    assert says in run_playbook(variables=variables, playbook="hpcops.cluster.issue_token").failed().failure


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"slurm_jwt": False}, "slurm_jwt is false"),
        ({"slurmrestd_listen_address": "0.0.0.0"}, "slurmrestd_listen_address is 0.0.0.0"),
        ({"slurmrestd_api_version": "0.0.42"}, 'slurmrestd_api_version: "0.0.42"'),
        ({"slurmrestd_tls_key": "/key"}, "go together"),
        ({"slurmrestd_user": "slurm"}, "refuses to run as slurm"),
    ],
)
def test_wrong_value_is_named_and_nothing_changes(variables: dict[str, Any], says: str) -> None:
    refused = run_playbook("--tags=slurmrestd", f"--limit={REST}", variables=variables).failed()
    assert says in refused.failure
    assert not refused.changed


def served(host: Host) -> str:
    """Serial number and names of the certificate that the proxy shows."""
    show = f"openssl s_client -connect {HOSTNAME}:6843 </dev/null 2>/dev/null | openssl x509 -noout -serial -ext subjectAltName"
    return str(host.check_output(show))


def renewal(*arguments: str, **variables: Any) -> Run:
    return run_playbook("--tags=slurmrestd", f"--limit={REST}", *arguments, variables=variables)


def test_certificate_of_the_sites_authority_follows_its_names_and_its_age(host: Host) -> None:
    key = "/etc/slurmrestd/tls.key"
    authority = STATE / "ca"
    assert (authority / "ca.key").stat().st_mode & 0o077 == 0
    assert (host.file(key).user, host.file(key).mode) == ("root", 0o600)
    before = [served(host), host.file(key).sha256sum]

    more = [HOSTNAME, "rest.example.org", "10.1.2.3"]
    assert renewal("--check", slurmrestd_tls_names=more).succeeded().changed, "check mode would not make it anew"
    assert [served(host), host.file(key).sha256sum] == before
    renewal(slurmrestd_tls_names=more).succeeded()
    eventually(lambda: "rest.example.org" in served(host) and "10.1.2.3" in served(host))
    assert host.file(key).sha256sum == before[1], "the key was made anew with it"

    (authority / "ca.key").rename(authority / "ca.key.away")
    try:
        assert not renewal(slurmrestd_tls_names=more).succeeded().changed, "what needs no signature needs no key"
        now = served(host)
        refused = renewal(slurmrestd_tls_names=more, os_base_certificate_days=900, os_base_certificate_renewal_days=800)
        assert "has no ca.key" in refused.failed().failure
        assert served(host) == now
    finally:
        (authority / "ca.key.away").rename(authority / "ca.key")
    renewal().succeeded()
    eventually(lambda: "rest.example.org" not in served(host))


def test_new_key_ends_all_tokens_and_jobs_go_on(host: Host, alice: str) -> None:
    """Last, since the other tests' tokens are gone then."""
    number = submit(host, ("alice", alice), "#!/bin/sh\nsleep 300\n")
    controller = container(CONTROLLER)
    look = f"squeue --noheader --jobs={number} --format=%T"
    eventually(lambda: controller.check_output(look).strip(), lambda state: state == "RUNNING")
    (STATE / "jwt.key").rename(STATE / "jwt.key.former")
    run_playbook("--tags=slurmctld,slurmdbd", variables={"slurm_replace_keys": True}).succeeded()
    eventually(lambda: curl(host, f"/slurm/{VERSION}/jobs", who=("alice", alice))[0], lambda status: status == REFUSED)
    fresh = token("alice")
    eventually(lambda: curl(host, f"/slurm/{VERSION}/jobs", who=("alice", fresh))[0], lambda status: status == 200)
    eventually(lambda: curl(host, f"{ACCOUNTING}/jobs", who=("alice", fresh))[0], lambda status: status == 200)
    assert controller.check_output(look).strip() == "RUNNING"
    controller.check_output(f"scancel {number}")
