"""The inventory plugin for EC2 against moto's EC2 and STS over HTTP, as Ansible's programs use it. AWS itself is not here."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ansible_collections.hpcops.cluster.tests.integration.ec2_runs import (
    FRANKFURT,
    HOSTILE,
    ONE,
    TWO,
    VIRGINIA,
    Ec2Ansible,
)
from ansible_collections.hpcops.cluster.tests.support.discovery_service import ROOT
from ansible_collections.hpcops.cluster.tests.support.ec2_service import KEYS, Fault, role

SITE = str(ROOT / "playbooks" / "site.yml")
STRICT = {"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1"}
ALL = ["n1", "n2", "n3", "n4"]


def test_hosts_of_all_accounts_and_regions_have_groups_and_variables(ec2_ansible: Ec2Ansible) -> None:
    listed = ec2_ansible.listed()
    groups = {name: sorted(group["hosts"]) for name, group in listed.items() if "hosts" in group}
    assert groups == {
        "account_one": ["n1", "n2"],
        "account_two": ["n3", "n4"],
        "cluster_alpha": ["n1"],
        "login": ["n2"],
        "partition_batch": ["n2"],
        "partition_gpu": ["n2"],
        "region_eu_central_1": ["n1", "n2", "n3"],
        "region_us_east_1": ["n4"],
        "slurmd": ["n1", "n2"],
        "state_running": ALL,
        "zone_eu_central_1a": ["n1", "n2", "n3"],
        "zone_us_east_1a": ["n4"],
    }
    variables = listed["_meta"]["hostvars"]
    assert variables["n1"]["slurm_cluster_name"] == {"__ansible_unsafe": "alpha"}
    assert variables["n3"]["slurm_node_cpus"] == 4
    assert variables["n4"]["slurm_node_gres"] == [{"__ansible_unsafe": each} for each in ("gpu:h100:8", "shard:16")]
    assert variables["n4"]["ec2_account"] == {"__ansible_unsafe": TWO}
    assert variables["n1"]["ansible_host"] == variables["n1"]["ec2_private_ip"]
    assert sorted(name for name in variables["n1"] if name.startswith("ec2_")) == [
        "ec2_account",
        "ec2_availability_zone",
        "ec2_instance_id",
        "ec2_instance_type",
        "ec2_private_ip",
        "ec2_public_ip",
        "ec2_region",
        "ec2_state",
    ]


def test_all_variables_are_there_on_request(ec2_ansible: Ec2Ansible) -> None:
    ec2_ansible.configure(variables="full")
    found = ec2_ansible.listed()["_meta"]["hostvars"]["n1"]
    assert found["ec2_tags"]["rack"] == {"__ansible_unsafe": "r1"}
    assert found["ec2_image_id"] == {"__ansible_unsafe": "ami-12c6146b"}
    assert found["ec2_instance"]["root_device_type"] == {"__ansible_unsafe": "ebs"}
    assert found["ec2_instance"]["placement"]["availability_zone"] == {"__ansible_unsafe": "eu-central-1a"}


def test_answer_is_joined_from_its_pages(ec2_ansible: Ec2Ansible) -> None:
    ids = [identity for _reservation in range(6) for identity in ec2_ansible.service.launch(ONE, "eu-west-1")]
    ec2_ansible.configure(
        accounts=[{"role_arn": role(ONE)}], regions=["eu-west-1"], hostnames=["instance-id"], page_size=5
    )
    assert ec2_ansible.names() == sorted(ids)
    assert [asked.form.get("MaxResults") for asked in ec2_ansible.service.asked] == [None, "5", "5"]


def test_cache_that_cannot_be_written_is_named(ec2_ansible: Ec2Ansible) -> None:
    in_the_way = ec2_ansible.folder / "file"
    in_the_way.write_text("")
    ec2_ansible.configure(cache_dir=str(in_the_way / "cache"))
    said = ec2_ansible.refused()
    assert f"cache_dir: {in_the_way}/cache" in said
    assert "Not a directory" in said


def test_enabled_regions_are_asked_where_all_are_wanted(ec2_ansible: Ec2Ansible) -> None:
    ec2_ansible.configure(
        accounts=[{"role_arn": role(TWO)}], regions=["all"], exclude_regions=["us-west-2"], timeout=120
    )
    assert ec2_ansible.names() == ["n3", "n4"]
    regions = {asked.region for asked in ec2_ansible.service.asked if asked.action == "DescribeInstances"}
    assert {FRANKFURT, VIRGINIA, "sa-east-1"} <= regions
    assert "us-west-2" not in regions


def test_filters_reach_ec2_and_exclusions_are_made_here(ec2_ansible: Ec2Ansible) -> None:
    ec2_ansible.configure(filters={"tag:hpcops:roles": ["slurmd*"]})
    assert ec2_ansible.names() == ["n1", "n2"]
    ec2_ansible.configure(exclude=[{"tag:hpcops:roles": "*login*"}, {"tag:Name": "n?", "availability-zone": "us-*"}])
    assert ec2_ansible.names() == ["n1", "n3"]


def test_role_is_assumed_as_it_is_configured(ec2_ansible: Ec2Ansible) -> None:
    account = {
        "role_arn": role(ONE),
        "external_id": "{{ lookup('ansible.builtin.env', 'OUR_ID') }}",
        "session_name": "night",
        "session_tags": {"team": "hpc"},
        "duration": 900,
        "regions": [FRANKFURT],
    }
    ec2_ansible.configure(accounts=[account])
    done = ec2_ansible.run("ansible", "all", "--list-hosts", **STRICT, OUR_ID="id-of-ours")
    assert "hosts (2)" in done.stdout, done.stderr
    form = ec2_ansible.service.asked[0].form
    assert (form["ExternalId"], form["RoleSessionName"], form["DurationSeconds"]) == ("id-of-ours", "night", "900")
    assert (form["Tags.member.1.Key"], form["Tags.member.1.Value"]) == ("team", "hpc")


def test_profile_and_web_identity_are_used(ec2_ansible: Ec2Ansible) -> None:
    (ec2_ansible.folder / "aws").write_text("[profile lab]\naws_access_key_id=AKIALAB\naws_secret_access_key=secret\n")
    token = ec2_ansible.folder / "token"
    token.write_text("token-of-the-tests\n")
    ec2_ansible.configure(
        regions=[FRANKFURT],
        min_hosts=0,
        accounts=[{"profile": "lab"}, {"role_arn": role(TWO), "web_identity_token_file": str(token)}],
    )
    assert ec2_ansible.names() == ["n3"]
    forms = [asked.form for asked in ec2_ansible.service.asked]
    assert [form["WebIdentityToken"] for form in forms if "WebIdentityToken" in form] == ["token-of-the-tests"]


def test_values_that_look_like_templates_are_never_evaluated(ec2_ansible: Ec2Ansible) -> None:
    ec2_ansible.configure(
        compose={"copied": "ec2_tags.evil", "made": "ec2_tags.evil ~ ''"},
        keyed_groups=[{"key": "ec2_tags.evil", "prefix": "k"}, {"key": "ec2_tags", "prefix": "t"}],
        group_tags=["evil"],
    )
    done = ec2_ansible.run("ansible", "n3", "-c", "local", "-m", "debug", "-a", "msg={{ [copied, made, group_names] }}")
    assert done.returncode == 0, done.stderr
    copied, made, groups = json.loads(done.stdout.partition("=> ")[2])["msg"]
    assert (copied, made) == (HOSTILE, HOSTILE)
    assert "label_evil____lookup__pipe____touch_evil_____" in groups
    assert not list(ec2_ansible.folder.rglob("evil"))


def test_fresh_answer_is_taken_without_asking(ec2_ansible: Ec2Ansible) -> None:
    ec2_ansible.configure(fresh_for="1h")
    first = without_status(ec2_ansible.listed())
    ec2_ansible.service.asked.clear()
    assert without_status(ec2_ansible.listed()) == first
    assert not ec2_ansible.service.asked
    done = ec2_ansible.run("ansible", "all", "--list-hosts", "--flush-cache", **STRICT)
    assert "hosts (4)" in done.stdout
    assert len(ec2_ansible.service.asked) == 6


def without_status(listed: dict[str, Any]) -> dict[str, Any]:
    """Without what tells the answer's age."""
    for variables in listed["_meta"]["hostvars"].values():
        del variables["hpcops_inventory_status"]
    return listed


# --- What goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (
            Fault(account=TWO, region=VIRGINIA, code="UnauthorizedOperation", status=403),
            rf"account two, region us-east-1: ec2:DescribeInstances is denied to {role(TWO)} "
            r"\(UnauthorizedOperation: no\); give it the IAM permission ec2:DescribeInstances",
        ),
        (
            Fault(account=TWO, region=VIRGINIA, code="OptInRequired"),
            "account two, region us-east-1: the account has not enabled the region .*exclude_regions",
        ),
        (
            Fault(account=TWO, region=VIRGINIA, code="AuthFailure", status=401),
            "account two, region us-east-1: ec2:DescribeInstances does not accept the credentials .*exclude_regions",
        ),
        (
            Fault(account=TWO, region=VIRGINIA, code="RequestLimitExceeded", status=503),
            "account two, region us-east-1: ec2:DescribeInstances is throttled.*raise retries",
        ),
        (
            Fault(account=TWO, region=VIRGINIA, code="InternalError", status=500),
            "account two, region us-east-1: ec2:DescribeInstances answers InternalError: no",
        ),
        (
            Fault(account=TWO, region=VIRGINIA, code="ExpiredToken"),
            "account two, region us-east-1: .* any more .ExpiredToken.; renew them",
        ),
        (
            Fault(account=TWO, region=VIRGINIA, code="GARBLED"),
            "account two, region us-east-1: .* answer that cannot be read, so none of it is used",
        ),
        (
            Fault(account=TWO, region=VIRGINIA, code="CUT"),
            "account two, region us-east-1: .* answer that cannot be read, so none of it is used: Unable to parse",
        ),
        (
            Fault("AssumeRole", code="AccessDenied", status=403, left=2),
            rf"account one: sts:AssumeRole of {role(ONE)} is denied to the default credentials \(AccessDenied\); "
            ".*trust policy.*account two: sts:AssumeRole",
        ),
    ],
    ids=lambda value: value.code if isinstance(value, Fault) else "",
)
def test_failing_region_fails_the_inventory_in_one_sentence(
    ec2_ansible: Ec2Ansible, fault: Fault, sentence: str
) -> None:
    ec2_ansible.service.faults.append(fault)
    refused = ec2_ansible.refused()
    assert re.search(sentence, refused), refused


def test_page_that_fails_half_way_leaves_nothing_of_its_region(ec2_ansible: Ec2Ansible) -> None:
    for _reservation in range(6):
        ec2_ansible.service.launch(ONE, "eu-west-2")
    ec2_ansible.configure(
        accounts=[{"role_arn": role(ONE)}], regions=["eu-west-2", FRANKFURT], page_size=5, on_partial="skip"
    )
    ec2_ansible.service.faults.append(Fault(region="eu-west-2", later=True, code="GARBLED"))
    done = ec2_ansible.run("ansible", "all", "--list-hosts", **STRICT)
    assert "hosts (2)" in done.stdout, done.stderr
    assert "ec2:DescribeInstances, page 2, has an answer that cannot be read" in " ".join(done.stderr.split())


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "CUT"])
def test_request_is_made_again_after_a_failure_that_may_pass(ec2_ansible: Ec2Ansible, code: str) -> None:
    ec2_ansible.configure(retries=2)
    ec2_ansible.service.faults.append(Fault(account=ONE, region=FRANKFURT, code=code, status=503, left=2))
    assert ec2_ansible.names() == ALL


def test_dead_endpoint_ends_a_playbook_non_zero_with_ansibles_defaults(ec2_ansible: Ec2Ansible) -> None:
    ec2_ansible.configure(endpoint_url="http://127.0.0.1:1")
    done = ec2_ansible.run("ansible-playbook", SITE, "--limit", "n1")
    assert done.returncode != 0
    assert "The inventory is not whole" in done.stderr
    assert "account one, region us-east-1: sts:AssumeRole gets no answer" in " ".join(done.stderr.split())


def test_missing_credentials_are_named(ec2_ansible: Ec2Ansible) -> None:
    ec2_ansible.configure(accounts=[])
    refused = ec2_ansible.refused(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert "account default: there are no credentials (the default credentials)" in refused
    ec2_ansible.configure(accounts=[{"profile": "absent"}])
    assert "account absent: there are no credentials (profile absent)" in ec2_ansible.refused()


def test_denied_account_is_served_by_its_last_answer_where_that_is_allowed(ec2_ansible: Ec2Ansible) -> None:
    ec2_ansible.configure(on_partial="cached")
    denied = Fault("AssumeRole", code="AccessDenied", status=403)
    ec2_ansible.service.faults.append(denied)
    assert "There is no earlier answer to go on with" in ec2_ansible.refused()
    ec2_ansible.service.faults.clear()
    assert ec2_ansible.names() == ALL
    ec2_ansible.service.faults.append(Fault(account=TWO, code="UnauthorizedOperation", status=403))
    done = ec2_ansible.run("ansible", "all", "--list-hosts", **STRICT)
    assert "hosts (4)" in done.stdout
    assert "STALE INVENTORY: account two, region us-east-1: ec2:DescribeInstances is denied" in " ".join(
        done.stderr.split()
    )
    status = next(iter(ec2_ansible.listed()["_meta"]["hostvars"]["n1"]["hpcops_inventory_status"].values()))
    assert (status["stale"], status["failed"]) == (True, [])
    ec2_ansible.configure()
    assert "is denied" in ec2_ansible.refused()


def test_skipped_region_is_said_and_in_the_status(ec2_ansible: Ec2Ansible) -> None:
    ec2_ansible.service.faults.append(Fault(account=TWO, region=FRANKFURT, code="UnauthorizedOperation", status=403))
    done = ec2_ansible.run("ansible", "all", "--list-hosts", HPCOPS_INVENTORY_ON_PARTIAL="skip", **STRICT)
    assert "hosts (3)" in done.stdout
    assert "PARTIAL INVENTORY: account two, region eu-central-1" in " ".join(done.stderr.split())
    ec2_ansible.configure(on_partial="skip")
    status = next(iter(ec2_ansible.listed()["_meta"]["hostvars"]["n1"]["hpcops_inventory_status"].values()))
    assert status["failed"] == [{"__ansible_unsafe": "account two, region eu-central-1"}]
    ec2_ansible.service.faults.append(Fault(code="UnauthorizedOperation", status=403))
    assert "account one, region us-east-1" in ec2_ansible.refused()


def test_regions_known_before_are_served_where_they_cannot_be_listed(ec2_ansible: Ec2Ansible) -> None:
    ec2_ansible.configure(
        accounts=[{"role_arn": role(TWO)}],
        regions=["all"],
        on_partial="cached",
        exclude_regions=[],
        timeout=120,
    )
    assert ec2_ansible.names() == ["n3", "n4"]
    ec2_ansible.service.faults.append(Fault("DescribeRegions", code="UnauthorizedOperation", status=403))
    done = ec2_ansible.run("ansible", "all", "--list-hosts", **STRICT)
    assert "hosts (2)" in done.stdout, done.stderr
    assert "ec2:DescribeRegions is denied" in " ".join(done.stderr.split())
    ec2_ansible.configure(accounts=[{"role_arn": role(ONE)}], regions=["all"])
    assert "account 111111111111, region us-east-1: ec2:DescribeRegions is denied" in ec2_ansible.refused()


def test_region_that_lost_its_hosts_is_refused_by_their_names(ec2_ansible: Ec2Ansible) -> None:
    assert ec2_ansible.names() == ALL
    ec2_ansible.configure(filters={})
    client = ec2_ansible.service.client(TWO, "eu-north-1")
    ids = ec2_ansible.service.launch(TWO, "eu-north-1", 1, Name="gone")
    ec2_ansible.configure(accounts=[{"role_arn": role(TWO)}], regions=["eu-north-1", VIRGINIA])
    assert ec2_ansible.names() == ["gone", "n4"]
    client.terminate_instances(InstanceIds=ids)
    assert "account 222222222222, region eu-north-1 lost 1 of 1 hosts" in ec2_ansible.refused()
    done = ec2_ansible.run("ansible", "all", "--list-hosts", **STRICT, HPCOPS_INVENTORY_MAX_SHRINK="100")
    assert "hosts (1)" in done.stdout


def test_equal_names_are_refused_or_followed_by_the_next(ec2_ansible: Ec2Ansible) -> None:
    ids = ec2_ansible.service.launch(ONE, "eu-west-3", 2, Name="worker")
    ec2_ansible.configure(
        accounts=[{"role_arn": role(ONE)}], regions=["eu-west-3"], hostnames=["tag:Name", "instance-id"]
    )
    refused = ec2_ansible.refused()
    assert "hostnames: 2 instances are called worker" in refused
    assert all(identity in refused for identity in ids)
    ec2_ansible.configure(
        accounts=[{"role_arn": role(ONE)}],
        regions=["eu-west-3"],
        hostnames=["tag:Name", "instance-id"],
        on_equal_names="next",
    )
    assert ec2_ansible.names() == sorted(ids)


def test_instance_without_a_preferred_name_is_never_left_out(ec2_ansible: Ec2Ansible) -> None:
    ec2_ansible.configure(hostnames=["tag:hpcops:host"])
    assert "hostnames: i-" in ec2_ansible.refused()


@pytest.mark.parametrize("level", ["", "-vvvvv"])
def test_credentials_are_in_no_output_or_cache(ec2_ansible: Ec2Ansible, level: str) -> None:
    options = [level] if level else []
    account = {"role_arn": role(ONE), "external_id": "id-of-ours"}
    ec2_ansible.configure(accounts=[account])
    outputs = [ec2_ansible.run("ansible-inventory", "--list", *options)]
    ec2_ansible.service.faults.append(Fault("AssumeRole", code="AccessDenied", status=403))
    outputs.append(ec2_ansible.run("ansible-inventory", "--list", *options))
    text = "".join(done.stdout + done.stderr for done in outputs)
    text += "".join(path.read_text() for path in ec2_ansible.folder.rglob("cache/*"))
    assert "n1" in text
    assert not [secret for secret in (*KEYS.values(), *ec2_ansible.service.owners) if secret in text]
