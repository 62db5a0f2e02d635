# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What EC2 says becomes hosts, groups and variables, whatever is in it."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import InventoryError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._ec2_hosts import Wanted, part_of, plain
from ansible_collections.hpcops.cluster.plugins.plugin_utils._ec2_whole import whole_of
from ansible_collections.hpcops.cluster.plugins.plugin_utils._snapshots import Snapshot

HOSTILE = "{{ lookup('pipe', 'id') }}"


def instance(identity: str = "i-1", tags: dict[str, str] | None = None, **members: Any) -> dict[str, Any]:
    return {
        "InstanceId": identity,
        "InstanceType": "c7i.large",
        "PrivateIpAddress": "10.0.0.1",
        "PrivateDnsName": f"{identity}.internal",
        "Placement": {"AvailabilityZone": "eu-central-1a"},
        "State": {"Name": "running"},
        "Tags": [{"Key": key, "Value": value} for key, value in (tags or {}).items()],
        **members,
    }


def part(*instances: dict[str, Any], wanted: Wanted | None = None, account: str = "one") -> Snapshot:
    reservations = [{"OwnerId": "111111111111", "Instances": instances}]
    return part_of(f"account {account}", account, "eu-central-1", reservations, wanted or Wanted())


def whole(*instances: dict[str, Any], **options: Any) -> Snapshot:
    wanted = Wanted(**options)
    return whole_of({"account one": part(*instances, wanted=wanted)}, wanted)


def test_instance_becomes_a_host_with_lean_variables() -> None:
    found = whole(instance(tags={"Name": "n1"}))
    assert found.hosts == {
        "n1": {
            "ansible_host": "10.0.0.1",
            "ec2_account": "111111111111",
            "ec2_availability_zone": "eu-central-1a",
            "ec2_instance_id": "i-1",
            "ec2_instance_type": "c7i.large",
            "ec2_private_ip": "10.0.0.1",
            "ec2_public_ip": "",
            "ec2_region": "eu-central-1",
            "ec2_state": "running",
        }
    }
    assert set(found.groups) == {"account_one", "region_eu_central_1", "state_running", "zone_eu_central_1a"}
    assert not found.facts


@pytest.mark.parametrize(
    ("tags", "options", "groups"),
    [
        ({"hpcops:roles": "slurmd, login"}, {"group_by": ["role"]}, {"slurmd", "login"}),
        ({"hpcops:roles": " slurmd\tlogin, slurmd"}, {"group_by": ["role"]}, {"slurmd", "login"}),
        ({"hpcops:cluster": "alpha"}, {"group_by": []}, {"cluster_alpha"}),
        ({"hpcops:partitions": "batch-1 gpu"}, {"group_by": ["partition"]}, {"partition_batch_1", "partition_gpu"}),
        ({"env": "prod", "rack": "r 1"}, {"group_by": ["label"], "group_tags": ["rack", "absent"]}, {"label_rack_r_1"}),
        ({"env": "prod"}, {"group_by": ["label"]}, set()),
        ({"hpcops:roles": HOSTILE}, {"group_by": ["role"]}, {"__", "lookup__pipe_", "_id__"}),
        ({"hpcops:roles": ""}, {"group_by": ["role"]}, set()),
    ],
)
def test_groups_are_made_from_tags(tags: dict[str, str], options: dict[str, Any], groups: set[str]) -> None:
    found = whole(instance(tags=tags), **{**options, "group_by": tuple(options["group_by"])})
    assert set(found.groups) - {"region_eu_central_1"} == groups


def test_role_that_is_named_twice_is_one() -> None:
    assert whole(instance(tags={"Name": "n", "hpcops:roles": "slurmd slurmd"})).groups["slurmd"] == ["n"]


def test_instance_without_an_id_is_refused() -> None:
    with pytest.raises(
        InventoryError, match="account one, region eu-central-1: the answer has an instance without an id"
    ):
        whole({})


def test_cluster_has_its_name_as_a_variable() -> None:
    assert whole(instance(tags={"hpcops:cluster": "alpha"})).group_vars == {
        "cluster_alpha": {"slurm_cluster_name": "alpha"}
    }


@pytest.mark.parametrize("role", ["all", "ungrouped", "hpcops_inventory_failed"])
def test_role_cannot_take_a_group_that_has_another_meaning(role: str) -> None:
    found = whole(instance(tags={"hpcops:roles": role}))
    assert role not in found.groups
    assert "another meaning" in found.warnings[0]


def test_role_cannot_take_the_group_of_a_cluster() -> None:
    found = whole(
        instance("i-1", tags={"hpcops:roles": "cluster_alpha", "hpcops:cluster": "beta"}),
        instance("i-2", tags={"hpcops:cluster": "alpha"}),
    )
    assert found.groups["cluster_alpha"] == ["i-2.internal"]
    assert "would both be the group cluster_alpha" in found.warnings[0]


@pytest.mark.parametrize(
    ("hostnames", "tags", "name"),
    [
        (("tag:hpcops:host", "tag:Name"), {"Name": "b", "hpcops:host": "a"}, "a"),
        (("tag:Name", "private-dns-name"), {}, "i-1.internal"),
        (("ip-address", "private-ip-address"), {}, "10.0.0.1"),
        (("dns-name", "instance-id"), {}, "i-1"),
        (("tag:Name", "instance-id"), {"Name": ""}, "i-1"),
    ],
)
def test_host_is_called_by_the_first_name_that_it_has(
    hostnames: tuple[str, ...], tags: dict[str, str], name: str
) -> None:
    assert list(whole(instance(tags=tags), hostnames=hostnames).hosts) == [name]


@pytest.mark.parametrize(
    "name", [HOSTILE, "two words", "localhost", "127.0.0.1", "a\nb", "-x", "all:children", "x" * 300]
)
def test_tag_that_cannot_be_a_name_is_passed_over_with_a_warning(name: str) -> None:
    found = whole(instance(tags={"Name": name}))
    assert list(found.hosts) == ["i-1.internal"]
    assert "cannot be called" in found.warnings[0]
    with pytest.raises(
        InventoryError, match=r"i-1 \(account one, region eu-central-1\) has nothing that it could be called"
    ):
        whole(instance(tags={"Name": name}), hostnames=("tag:Name",))


def test_many_bad_names_are_counted() -> None:
    found = whole(*(instance(f"i-{number}", {"Name": "two words"}) for number in range(30)))
    assert len(found.warnings) == 21
    assert "10 more" in found.warnings[-1]


def test_hosts_are_in_the_order_of_their_names() -> None:
    found = whole(*(instance(f"i-{name}", {"Name": name, "hpcops:roles": "slurmctld"}) for name in ("c", "a", "b")))
    assert list(found.hosts) == found.groups["slurmctld"] == ["a", "b", "c"]


SAME = [instance("i-1", {"Name": "w"}), instance("i-2", {"Name": "w"}), instance("i-3", {"Name": "i-2"})]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "2 instances are called w: i-1 .account one., i-2 .account one.; .*on_equal_names: next"),
        ({"on_equal_names": "next", "hostnames": ("tag:Name",)}, "2 instances are called w: .*add instance-id"),
    ],
)
def test_equal_names_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InventoryError, match=message):
        whole(*SAME, **options)


def test_equal_names_give_way_to_the_next_until_all_differ() -> None:
    found = whole(*SAME, on_equal_names="next", hostnames=("tag:Name", "instance-id"))
    assert {name: variables["ec2_instance_id"] for name, variables in found.hosts.items()} == {
        "i-1": "i-1",
        "i-2": "i-2",
        "i-3": "i-3",
    }
    assert [text.partition(";")[0] for text in found.warnings] == [
        "2 instances are called w",
        "2 instances are called i-2",
    ]


def test_equal_names_in_two_accounts_are_noticed() -> None:
    parts = {f"account {name}": part(instance(f"i-{name}", {"Name": "ctl"}), account=name) for name in ("one", "two")}
    with pytest.raises(InventoryError, match=r"i-one \(account one\), i-two \(account two\)"):
        whole_of(parts, Wanted())


def test_instance_that_two_parts_have_is_one_host() -> None:
    parts = {f"account {name}": part(instance(tags={"Name": "n1"}), account=name) for name in ("one", "two")}
    found = whole_of(parts, Wanted())
    assert list(found.hosts) == ["n1"]
    assert found.groups["state_running"] == ["n1"]


@pytest.mark.parametrize(
    ("tags", "variables", "warning"),
    [
        ({"hpcops:slurm_node_cpus": "8"}, {"slurm_node_cpus": 8}, ""),
        ({"hpcops:slurm_node_gres": "gpu:h100:8, shard:16"}, {"slurm_node_gres": ["gpu:h100:8", "shard:16"]}, ""),
        ({"hpcops:slurm_node_name": "007"}, {"slurm_node_name": "007"}, ""),
        ({"hpcops:slurm_node_weight": HOSTILE}, {"slurm_node_weight": HOSTILE}, ""),
        ({"hpcops:slurm_node_parameters": "{}"}, {}, "slurm_node_parameters"),
        ({"hpcops:slurm_node_x": "1", "slurm_node_cpus": "9"}, {}, "hpcops:slurm_node_x"),
    ],
)
def test_nodes_variables_come_from_tags(tags: dict[str, str], variables: dict[str, Any], warning: str) -> None:
    found = whole(instance(tags={**tags, "Name": "n1"}))
    assert {name: value for name, value in found.hosts["n1"].items() if name.startswith("slurm_")} == variables
    assert warning in "".join(found.warnings)
    assert bool(found.warnings) is bool(warning)


def test_tag_wins_over_what_is_said_of_the_instance_type() -> None:
    types = {"c7i.large": {"slurm_node_cpus": 2, "slurm_node_real_memory": 3800}}
    found = whole(instance(tags={"Name": "n1", "hpcops:slurm_node_cpus": "1"}), instance_types=types).hosts["n1"]
    assert (found["slurm_node_cpus"], found["slurm_node_real_memory"]) == (1, 3800)


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ([{"tag:Name": "n*"}], []),
        ([{"tag:Name": ["n2", "n3"]}], ["n1"]),
        ([{"tag:Name": "n?", "instance-type": "t2.*"}], ["n1", "n2"]),
        ([{"tag-key": "gone"}, {"instance-id": "i-1"}], []),
        ([{"availability-zone": "eu-central-1[ab]"}], ["n1", "n2"]),
        ([{"tag:absent": "*"}], ["n1", "n2"]),
    ],
)
def test_instance_is_left_out_where_it_matches_all_of_an_entry(rules: list[dict[str, Any]], left: list[str]) -> None:
    instances = [instance("i-1", {"Name": "n1"}), instance("i-2", {"Name": "n2", "gone": ""})]
    assert list(whole(*instances, exclude=tuple(rules)).hosts) == left


@pytest.mark.parametrize(
    ("options", "also"),
    [
        ({"also": ("ec2_tags", "ec2_lifecycle")}, {"ec2_tags": {"Name": "n1"}, "ec2_lifecycle": "spot"}),
        ({"also": ("ec2_vpc_id",)}, {"ec2_vpc_id": ""}),
        ({"also": ("ec2_launch_time",)}, {"ec2_launch_time": "2026-01-01T00:00:00+00:00"}),
    ],
)
def test_more_variables_are_there_on_request(options: dict[str, Any], also: dict[str, Any]) -> None:
    time = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    given = instance(tags={"Name": "n1"}, InstanceLifecycle="spot", LaunchTime=time)
    lean, more = whole(given).hosts["n1"], whole(given, **options).hosts["n1"]
    assert {name: value for name, value in more.items() if name not in lean} == also


def test_full_variables_are_plain_data() -> None:
    time = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    found = whole(instance(tags={"Name": "n1"}, LaunchTime=time, EbsOptimized=True), extent="full").hosts["n1"]
    assert json.loads(json.dumps(found)) == found
    assert found["ec2_instance"]["ebs_optimized"] is True
    assert {"ec2_tags", "ec2_roles", "ec2_vpc_id"} <= set(found)


@pytest.mark.parametrize(
    ("name", "variable"),
    [("VpcId", "vpc_id"), ("BootMode", "boot_mode"), ("EnaSupport", "ena_support"), ("HTTPTokens", "http_tokens")],
)
def test_members_are_called_like_variables(name: str, variable: str) -> None:
    assert plain({name: 1}) == {variable: 1}


def test_expressions_see_tags_without_their_being_variables() -> None:
    found = whole(instance(tags={"Name": "n1", "evil": HOSTILE}), expressions=True)
    assert found.facts["n1"]["ec2_tags"]["evil"] == HOSTILE
    assert "ec2_tags" not in found.hosts["n1"]


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ({}, "10.0.0.1"),
        ({"addresses": ("ip-address",)}, None),
        ({"addresses": ("dns-name", "private-dns-name")}, "i-1.internal"),
    ],
)
def test_address_is_the_first_that_there_is(options: dict[str, Any], address: str | None) -> None:
    assert whole(instance(tags={"Name": "n"}), **options).hosts["n"].get("ansible_host") == address


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hostnames": ("name",)}, "hostnames: 'name' is none of these: instance-id"),
        ({"addresses": ("tag:Name",)}, "addresses: 'tag:Name' is none of these: private-dns-name"),
        ({"exclude": ({"vpc": "x"},)}, "exclude: 'vpc' is none of these"),
        ({"exclude": ({},)}, "exclude: each entry"),
        ({"instance_types": {"x": {"cpus": 1}}}, "instance_types: x has cpus"),
        ({"page_size": 4}, "page_size: EC2 takes 5 to 1000, not 4"),
        ({"page_size": 1001}, "page_size: EC2 takes 5 to 1000, not 1001"),
    ],
)
def test_unknown_word_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InventoryError, match=message):
        Wanted(**options)


@pytest.mark.parametrize(
    ("options", "filters"),
    [
        ({"states": ("running",)}, [{"Name": "instance-state-name", "Values": ["running"]}]),
        (
            {"states": ("running",), "filters": {"instance-state-name": ["stopped"], "tag:x": 1}},
            [{"Name": "instance-state-name", "Values": ["stopped"]}, {"Name": "tag:x", "Values": ["1"]}],
        ),
        ({"states": ()}, []),
    ],
)
def test_filters_are_as_ec2_reads_them(options: dict[str, Any], filters: list[dict[str, Any]]) -> None:
    assert Wanted(**options).ec2_filters == filters
