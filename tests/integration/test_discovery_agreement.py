"""The API and the reader agree: whatever a writer of one cluster can store, every reader of the site can read."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_hosts import Wanted, snapshot_of
from ansible_collections.hpcops.cluster.plugins.plugin_utils._groups import FAILED, RESERVED, is_host_name
from ansible_collections.hpcops.cluster.plugins.plugin_utils._reserved_variables import is_fit, is_reserved
from ansible_collections.hpcops.cluster.tests.support.discovery_service import WRITER, Service

names = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)
hosts = names | st.sampled_from(
    ["localhost", "127.0.0.1", "LOCALHOST", "::1", "a1\n", "group_names", *sorted(RESERVED)]
)
roles = names | st.sampled_from(
    [
        "slurmctld",
        "cluster_beta",
        "cluster-beta",
        "cluster.alpha",
        "cluster_new",
        "partition_x",
        "a b",
        *sorted(RESERVED),
    ]
)
texts = st.text(max_size=12)
variables = st.dictionaries(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
    | st.sampled_from(["class", "ansible_connection", "ansible_host", "ansible_port", "slurm_cluster_name", "vars"]),
    st.one_of(texts, st.integers(), st.booleans(), st.sampled_from(["10.0.0.1", "-oProxyCommand=id", 22])),
    max_size=3,
)
documents = st.fixed_dictionaries(
    {"name": hosts, "cluster": st.just("alpha"), "state": st.just("planned")},
    optional={
        "roles": st.lists(roles, max_size=3),
        "partitions": st.lists(names, max_size=2),
        "labels": st.dictionaries(names, texts, max_size=2),
        "addresses": st.dictionaries(
            st.sampled_from(["main", "bmc"]),
            st.ip_addresses().map(str) | st.sampled_from(["fe80::1%x", "n1"]),
            max_size=2,
        ),
        "variables": variables,
    },
)


def status_of(service: Service, method: str, path: str, body: Any) -> int:
    request = urllib.request.Request(
        f"{service.url}{path}",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {WRITER}", "Content-Type": "application/json"},
        method=method,
    )
    try:
        trusted = ssl.create_default_context(cafile=str(service.ca_file))
        with urllib.request.urlopen(request, timeout=60, context=trusted) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents)
def test_what_the_api_accepts_of_a_writer_every_reader_can_read(service: Service, document: dict[str, Any]) -> None:
    if status_of(service, "POST", "/v1/hosts", {"hosts": [document]}) != 200:
        return
    name = document["name"]
    try:
        found = snapshot_of(service.ask("GET", "/v1/inventory?vars=full"), Wanted(extent="full"))
        assert is_host_name(name)
        assert [
            group for group, members in found.groups.items() if group.startswith("cluster_") and name in members
        ] == ["cluster_alpha"]
        assert not RESERVED & found.groups.keys()
        assert FAILED not in found.groups
        given_variables = document.get("variables", {})
        assert found.hosts[name].items() >= given_variables.items()
        assert not [each for each in given_variables if is_reserved(each)]
        assert all(is_fit(each, value) for each, value in given_variables.items())
    finally:
        status_of(service, "PATCH", f"/v1/hosts/{name}", {"state": "retired"})
