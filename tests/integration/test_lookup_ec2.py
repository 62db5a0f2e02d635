"""The lookup ec2 against moto's EC2 and STS over HTTP, as Ansible's programs use it. AWS itself is not here."""

from __future__ import annotations

from typing import Any

from ansible_collections.hpcops.cluster.tests.integration.ec2_runs import (
    FRANKFURT,
    HOSTILE,
    ONE,
    TWO,
    VIRGINIA,
    Ec2Ansible,
)
from ansible_collections.hpcops.cluster.tests.support.ec2_service import Fault, role


def looked_up(ansible: Ec2Ansible, *expressions: str, **variables: Any) -> list[Any]:
    """What each expression is, or the error that it ends in."""
    common = {
        "hpcops_ec2_endpoint_url": ansible.service.url,
        "hpcops_ec2_accounts": [{"name": "one", "role_arn": role(ONE)}, {"name": "two", "role_arn": "{{ two }}"}],
        "hpcops_ec2_regions": [FRANKFURT],
        "two": role(TWO),
    }
    tasks = [{"ansible.builtin.debug": {"msg": f"{{{{ {expression} }}}}"}} for expression in expressions]
    return [result["msg"] for result in ansible.results(*tasks, vars={**common, **variables})]


def test_things_of_all_accounts_and_regions_are_found(ec2_ansible: Ec2Ansible) -> None:
    subnets, groups, instances, both = looked_up(
        ec2_ansible,
        f"query('hpcops.cluster.ec2', 'subnets', regions=['{FRANKFURT}', '{VIRGINIA}'])",
        "query('hpcops.cluster.ec2', 'security_groups', filters={'group-name': 'default'})",
        "query('hpcops.cluster.ec2', 'instances', filters={'tag-key': ['evil', 'rack']})",
        "query('hpcops.cluster.ec2', 'subnets', 'security_groups') | length",
    )
    places = {(subnet["account"], subnet["region"]) for subnet in subnets}
    assert places == {(account, region) for account in ("one", "two") for region in (FRANKFURT, VIRGINIA)}
    assert all(subnet["subnet_id"] for subnet in subnets)
    assert [group["group_name"] for group in groups] == ["default", "default"]
    assert [(each["account"], each["owner_id"]) for each in instances] == [("one", ONE), ("two", TWO)]
    assert instances[1]["tags"]["evil"] == HOSTILE
    assert both > 2
    assert not list(ec2_ansible.folder.rglob("evil"))


def test_newest_image_of_an_owner_is_first(ec2_ansible: Ec2Ansible) -> None:
    client = ec2_ansible.service.client(ONE, FRANKFURT)
    instance = client.describe_instances()["Reservations"][0]["Instances"][0]["InstanceId"]
    ids = [client.create_image(InstanceId=instance, Name=f"hpc-{number}")["ImageId"] for number in range(2)]
    newest, every, none = looked_up(
        ec2_ansible,
        "query('hpcops.cluster.ec2', 'images', owners=['self'], filters={'name': 'hpc-*'})",
        "query('hpcops.cluster.ec2', 'images', owners=['self'], filters={'name': 'hpc-*'}, newest=0)",
        "query('hpcops.cluster.ec2', 'images', owners=['self'], filters={'name': 'absent'})",
    )
    assert len(newest) == 1
    assert newest[0] == every[0]
    assert sorted(image["image_id"] for image in every) == sorted(ids)
    assert [image["creation_date"] for image in every] == sorted((i["creation_date"] for i in every), reverse=True)
    assert none == []


def test_node_of_an_instance_type_is_known_before_it_boots(ec2_ansible: Ec2Ansible) -> None:
    (found,) = looked_up(
        ec2_ansible,
        "query('hpcops.cluster.ec2', 'instance_types', accounts=[hpcops_ec2_accounts[0]], prices={'c5.xlarge': 0.19},"
        " filters={'instance-type': ['c5.xlarge', 'g4dn.12xlarge']})",
    )
    assert [kind["instance_type"] for kind in found] == ["c5.xlarge", "g4dn.12xlarge"]
    assert [kind.get("price") for kind in found] == [0.19, None]
    assert found[0]["slurm_node"] == {
        "slurm_node_cpus": 4,
        "slurm_node_threads_per_core": 2,
        "slurm_node_real_memory": 8192 * 95 // 100,
    }
    assert found[1]["slurm_node"]["slurm_node_gres"] == ["gpu:t4:4"]


def test_what_goes_wrong_is_said_in_one_sentence(ec2_ansible: Ec2Ansible) -> None:
    denied = Fault("DescribeSubnets", account=TWO, code="UnauthorizedOperation", status=403)
    ec2_ansible.service.faults.append(denied)
    errors = looked_up(
        ec2_ansible,
        "query('hpcops.cluster.ec2', 'subnets')",
        "query('hpcops.cluster.ec2', 'images')",
        "query('hpcops.cluster.ec2', 'networks')",
        "query('hpcops.cluster.ec2', 'subnets', region='eu-central-1')",
        "query('hpcops.cluster.ec2', 'subnets', regions=[])",
    )
    for error, sentence in zip(
        errors,
        (
            f"account two, region {FRANKFURT}: ec2:DescribeSubnets is denied to {role(TWO)} (UnauthorizedOperation: no); "
            "give it the IAM permission ec2:DescribeSubnets",
            "owners: images are looked up of named owners only",
            "'networks' is none of these: images, instances, instance_types, security_groups, subnets",
            "there is no option region",
            "regions: accounts: entry 1 has none",
        ),
    ):
        assert sentence in error
