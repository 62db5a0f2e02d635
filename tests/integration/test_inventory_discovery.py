"""The inventory plugin against the real API over TLS, as Ansible's programs use it."""

from __future__ import annotations

import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ansible_collections.hpcops.cluster.tests.integration.ansible_runs import Ansible
from ansible_collections.hpcops.cluster.tests.support.discovery_service import ADMIN, ALPHA, READER, ROOT, Service

ALL = ["a1", "a2", "a3", "a4", "b1"]
STRICT = {"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1"}
SITE = str(ROOT / "playbooks" / "site.yml")


def test_hosts_have_the_variables_that_the_roles_use(ansible: Ansible) -> None:
    listed = ansible.listed()
    variables = listed["_meta"]["hostvars"]["a2"]
    assert variables["slurm_node_cpus"] == 4
    assert variables["ansible_host"] == {"__ansible_unsafe": "10.0.0.1"}
    assert variables["slurm_cluster_name"] == {"__ansible_unsafe": "alpha"}
    assert variables["slurmctld_parameters"] == {"SlurmctldTimeout": 300}
    assert not [name for name in variables if name.startswith("discovery_")]
    assert listed["slurmctld"]["hosts"] == ["a4"]
    assert listed["cluster_beta"]["hosts"] == ["b1"]
    assert listed["state_planned"]["hosts"] == ALL
    assert listed["label_env_prod"]["hosts"] == ["a1"]
    assert ansible.names() == ALL


def test_warm_run_sends_one_conditional_request_and_lists_the_same(ansible: Ansible) -> None:
    options = {"compose": {"y": "evil ~ '!'"}, "keyed_groups": [{"key": "discovery_rack", "prefix": "rack"}]}
    ansible.configure(variables=["discovery_rack"], **options)
    first = ansible.listed()
    assert first["rack_r1"]["hosts"] == ALL
    with recording(ansible.service) as proxy:
        ansible.configure(url=proxy.url, variables=["discovery_rack"], **options)
        ansible.listed()
        cold = list(proxy.statuses)
        assert without_status(ansible.listed()) == without_status(first)
        assert (cold, proxy.statuses) == ([200], [200, 304])


def without_status(listed: dict[str, Any]) -> dict[str, Any]:
    """Without what names the source's address and file."""
    for variables in listed["_meta"]["hostvars"].values():
        del variables["hpcops_inventory_status"]
    return listed


def test_change_is_there_in_the_next_run(ansible: Ansible) -> None:
    assert "n9" not in ansible.names()
    ansible.service.ask("PUT", "/v1/hosts/n9", {"name": "n9", "cluster": "alpha"})
    try:
        assert "n9" in ansible.names()
    finally:
        ansible.service.ask("PATCH", "/v1/hosts/n9", {"state": "retired"})
    ansible.configure(max_shrink=100)
    assert ansible.names() == ALL


def test_token_of_one_cluster_sees_that_alone(ansible: Ansible) -> None:
    ansible.configure(token=ALPHA)
    assert ansible.names() == ALL[:4]
    ansible.configure(token=ALPHA, clusters=["beta"])
    done = ansible.run("ansible", "all", "--list-hosts", **STRICT)
    assert done.returncode != 0
    assert "403" in done.stderr


def test_values_that_look_like_templates_are_never_evaluated(ansible: Ansible) -> None:
    ansible.configure(
        compose={"copied": "evil", "made": "evil ~ ''"},
        keyed_groups=[{"key": "evil", "prefix": "k"}, {"key": "discovery_labels", "prefix": "l"}],
    )
    done = ansible.run("ansible", "a1", "-c", "local", "-m", "debug", "-a", "msg={{ [evil, copied, made] }}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.partition("=> ")[2])["msg"] == ["{{ lookup('pipe', 'touch evil') }}"] * 3
    assert not list(ansible.folder.rglob("evil"))


# --- What goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", ["ansible", "ansible-inventory"])
def test_unreachable_api_ends_non_zero_with_the_settings_that_are_recommended(ansible: Ansible, program: str) -> None:
    ansible.service.stop()
    arguments = ("--list",) if program == "ansible-inventory" else ("all", "--list-hosts")
    done = ansible.run(program, *arguments, ANSIBLE_CONFIG=str(ROOT / "inventories" / "discovery" / "ansible.cfg"))
    assert done.returncode != 0
    assert "cannot be asked" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("--limit", "a1"), ("--check",), ("--tags", "munge")])
def test_unreachable_api_ends_a_playbook_non_zero_with_ansibles_defaults(
    ansible: Ansible, arguments: tuple[str, ...]
) -> None:
    ansible.service.stop()
    done = ansible.run("ansible-playbook", SITE, *arguments)
    assert done.returncode != 0, done.stdout
    assert "The inventory is not whole" in done.stderr
    assert "cannot be asked" in done.stderr


def test_source_that_no_plugin_reads_ends_a_playbook_non_zero(ansible: Ansible) -> None:
    done = ansible.run("ansible-playbook", SITE, ANSIBLE_INVENTORY_ENABLED="yaml")
    assert done.returncode != 0, done.stdout
    assert "its sources have no host" in done.stderr


def test_playbook_stops_where_one_of_two_sources_fails(ansible: Ansible) -> None:
    other = ansible.folder / "hosts.yml"
    other.write_text(json.dumps({"slurmd": {"hosts": {"x1": {"ansible_connection": "local"}}}}))
    ansible.service.stop()
    done = ansible.run("ansible-playbook", "-i", str(other), SITE, "--limit", "x1")
    assert done.returncode != 0
    assert "The inventory is not whole" in done.stderr


def test_playbook_goes_on_past_the_check_where_all_sources_answer(ansible: Ansible) -> None:
    playbook = str(ROOT / "playbooks" / "check_inventory.yml")
    done = ansible.run("ansible-playbook", playbook)
    assert done.returncode == 0, done.stdout + done.stderr
    static = ansible.folder / "hosts.yml"
    static.write_text(json.dumps({"all": {"hosts": {"x1": {}}}}))
    done = ansible.run("ansible-playbook", "-i", str(static), playbook)
    assert done.returncode == 0, done.stdout + done.stderr


def test_last_good_answer_stands_in_while_it_is_young_enough(ansible: Ansible) -> None:
    ansible.configure(stale_ok="1h")
    assert ansible.names() == ALL
    ansible.service.stop()
    done = ansible.run("ansible", "all", "--list-hosts", **STRICT)
    assert done.returncode == 0
    assert "hosts (5)" in done.stdout
    assert "STALE INVENTORY" in done.stderr
    ansible.configure()
    assert ansible.run("ansible", "all", "--list-hosts", **STRICT).returncode != 0


def test_answer_that_lost_many_hosts_is_refused_by_name(ansible: Ansible) -> None:
    assert ansible.names() == ALL
    ansible.service.ask("PATCH", "/v1/hosts/a3", {"state": "retired"})
    done = ansible.run("ansible", "all", "--list-hosts", **STRICT)
    assert done.returncode != 0
    assert "cluster alpha lost 1 of 4 hosts" in " ".join(done.stderr.split())
    assert ": a3." in done.stderr
    done = ansible.run("ansible", "all", "--list-hosts", **STRICT, HPCOPS_INVENTORY_MAX_SHRINK="100")
    assert "hosts (4)" in done.stdout
    assert ansible.names() == ["a1", "a2", "a4", "b1"]


def test_certificate_of_somebody_else_is_refused(ansible: Ansible) -> None:
    ansible.configure(ca_file="")
    done = ansible.run("ansible", "all", "--list-hosts", **STRICT)
    assert done.returncode != 0
    assert "certificate verify failed" in done.stderr.lower()


@pytest.mark.parametrize("level", ["", "-vvvvv"])
def test_token_is_in_no_output_cache_or_error(ansible: Ansible, level: str) -> None:
    options = [level] if level else []
    outputs = [ansible.run("ansible-inventory", "--list", *options)]
    ansible.configure(token=ADMIN[:-1])
    outputs.append(ansible.run("ansible-inventory", "--list", *options))
    assert "401" in outputs[1].stderr
    ansible.service.stop()
    outputs.append(ansible.run("ansible-inventory", "--list", *options))
    kept = [path.read_text() for path in ansible.folder.rglob("cache/*")]
    for token in (READER, ADMIN[:-1]):
        assert not [text for done in outputs for text in (done.stdout, done.stderr) if token in text]
        assert not [text for text in kept if token in text]


def test_netrc_does_not_take_the_tokens_place(ansible: Ansible) -> None:
    (ansible.folder / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    done = ansible.run("ansible", "all", "--list-hosts", **STRICT, HOME=str(ansible.folder))
    assert done.returncode == 0, done.stderr


# --- A server between them -----------------------------------------------------------------------------------------


class Proxy(BaseHTTPRequestHandler):
    """Hands requests to the API, after as many failures as it is told to begin with."""

    service: ClassVar[Service]
    url: ClassVar[str]
    failures: ClassVar[list[int]]
    statuses: ClassVar[list[int]]

    def do_GET(self) -> None:
        status, body, headers = 0, b"", {}
        if self.failures:
            status = self.failures.pop(0)
        else:
            wanted = {name: self.headers[name] for name in ("Authorization", "If-None-Match") if self.headers[name]}
            request = urllib.request.Request(f"{self.service.url}{self.path}", headers=wanted)
            trusted = ssl.create_default_context(cafile=str(self.service.ca_file))
            try:
                with urllib.request.urlopen(request, context=trusted) as answer:
                    status, body, headers = answer.status, answer.read(), {"ETag": answer.headers["ETag"]}
            except urllib.error.HTTPError as error:
                status = error.code
        self.statuses.append(status)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body)), "Retry-After": "9999"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        pass


@contextmanager
def recording(service: Service, *failures: int) -> Iterator[type[Proxy]]:
    """A proxy in the clear on this machine."""

    class Handler(Proxy):
        pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Handler.service, Handler.url = service, f"http://127.0.0.1:{server.server_port}"
    Handler.failures, Handler.statuses = list(failures), []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Handler
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_request_is_made_again_after_a_failure_that_may_pass(ansible: Ansible, status: int) -> None:
    with recording(ansible.service, status, status) as proxy:
        ansible.configure(url=proxy.url, retries=2)
        assert ansible.names() == ALL
        assert proxy.statuses == [status, status, 200]
        proxy.failures += [status, status]
        ansible.configure(url=proxy.url, retries=1)
        done = ansible.run("ansible", "all", "--list-hosts", **STRICT)
        assert done.returncode != 0
        assert f"answers {status}" in done.stderr


@pytest.mark.parametrize("status", [301, 400, 404])
def test_other_answers_are_errors_at_once(ansible: Ansible, status: int) -> None:
    with recording(ansible.service, status) as proxy:
        ansible.configure(url=proxy.url, retries=3, stale_ok="1h")
        assert ansible.run("ansible", "all", "--list-hosts", **STRICT).returncode != 0
        assert proxy.statuses == [status]


def test_example_configuration_is_read(ansible: Ansible) -> None:
    example = Path(ROOT / "inventories" / "discovery" / "site.discovery.yml")
    ansible.source.write_text(example.read_text())
    token = ansible.folder / "token"
    token.write_text(READER + "\n")
    done = ansible.run(
        "ansible",
        "all",
        "--list-hosts",
        **STRICT,
        HPCOPS_DISCOVERY_URL=ansible.service.url,
        HPCOPS_DISCOVERY_CA_FILE=str(ansible.service.ca_file),
        HPCOPS_DISCOVERY_TOKEN_FILE=str(token),
    )
    assert "hosts (5)" in done.stdout, done.stderr
