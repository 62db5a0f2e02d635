# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions are asked as EC2 reads them, and its answers become plain data."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import AwsError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_accounts import Account
from ansible_collections.hpcops.cluster.plugins.plugin_utils._ec2_lookups import Question, node_variables


class Region:
    """Answers with these pages, and remembers the question."""

    def __init__(self, *pages: dict[str, Any]) -> None:
        self._pages = pages
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def regions(self) -> list[str]:
        raise AssertionError("not asked for here")

    def pages(self, region: str, operation: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        assert region == "eu-west-1"
        self.asked.append((operation, arguments))
        yield from self._pages


def answers(kind: str, *pages: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    return Question(kind, **options).ask(Region(*pages), Account("one"), "eu-west-1")


@pytest.mark.parametrize(
    ("question", "operation", "arguments"),
    [
        (Question("subnets"), "DescribeSubnets", {"MaxResults": 1000}),
        (Question("instance_types"), "DescribeInstanceTypes", {"MaxResults": 100}),
        (
            Question("images", owners=("self",), filters={"name": ["a*", "b"], "is-public": "false"}),
            "DescribeImages",
            {
                "MaxResults": 1000,
                "Owners": ["self"],
                "Filters": [{"Name": "name", "Values": ["a*", "b"]}, {"Name": "is-public", "Values": ["false"]}],
            },
        ),
    ],
)
def test_question_is_asked_as_ec2_reads_it(question: Question, operation: str, arguments: dict[str, Any]) -> None:
    region = Region()
    assert question.ask(region, Account(), "eu-west-1") == []
    assert region.asked == [(operation, arguments)]


@pytest.mark.parametrize(("newest", "found"), [(1, ["c"]), (2, ["c", "b"]), (0, ["c", "b", "a"])])
def test_newest_images_come_first_whatever_the_page(newest: int, found: list[str]) -> None:
    pages = [
        {"Images": [{"ImageId": name, "CreationDate": f"2026-0{month}-01"} for name, month in page]}
        for page in ([("b", 2), ("c", 3)], [("a", 1)])
    ]
    assert [image["image_id"] for image in answers("images", *pages, owners=("self",), newest=newest)] == found


def test_everything_is_plain_data_with_its_place_and_tags() -> None:
    time = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    instance = {"InstanceId": "i-1", "LaunchTime": time, "Tags": [{"Key": "CamelCase", "Value": "x"}]}
    assert answers("instances", {"Reservations": [{"OwnerId": "1", "Instances": [instance]}]}) == [
        {
            "account": "one",
            "region": "eu-west-1",
            "instance_id": "i-1",
            "launch_time": "2026-01-01T00:00:00+00:00",
            "owner_id": "1",
            "tags": {"CamelCase": "x"},
        }
    ]


@pytest.mark.parametrize(
    ("kind", "variables"),
    [
        (
            {"v_cpu_info": {"default_v_cpus": 4, "default_threads_per_core": 2}, "memory_info": {"size_in_mi_b": 8192}},
            {"slurm_node_cpus": 4, "slurm_node_threads_per_core": 2, "slurm_node_real_memory": 7782},
        ),
        (
            {"gpu_info": {"gpus": [{"name": "H100", "count": 8}, {"name": "Radeon Pro V520", "count": 1}]}},
            {"slurm_node_gres": ["gpu:h100:8", "gpu:radeon_pro_v520:1"]},
        ),
        ({}, {}),
    ],
)
def test_hardware_becomes_a_nodes_variables(kind: dict[str, Any], variables: dict[str, Any]) -> None:
    assert node_variables(kind, 95) == variables


def test_price_is_there_where_it_is_given() -> None:
    page = {"InstanceTypes": [{"InstanceType": name} for name in ("b", "a")]}
    found = answers("instance_types", page, prices={"a": 0.5})
    assert [(kind["instance_type"], kind.get("price")) for kind in found] == [("a", 0.5), ("b", None)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "networks"}, "'networks' is none of these: images"),
        ({"kind": "images"}, "owners: images are looked up of named owners only"),
        ({"kind": "subnets", "newest": -1}, "newest cannot be negative"),
        ({"kind": "subnets", "memory_percent": 0}, "memory_percent is a percentage"),
    ],
)
def test_question_that_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(AwsError, match=message):
        Question(**options)


def test_type_comes_with_the_variables_of_a_node_and_its_price() -> None:
    kind = {
        "InstanceType": "g5.xlarge",
        "VCpuInfo": {"DefaultVCpus": 4, "DefaultThreadsPerCore": 2},
        "MemoryInfo": {"SizeInMiB": 1000},
    }
    (found,) = answers("instance_types", {"InstanceTypes": [kind]}, prices={"g5.xlarge": 1.5})
    assert found["slurm_node"] == {
        "slurm_node_cpus": 4,
        "slurm_node_threads_per_core": 2,
        "slurm_node_real_memory": 950,
    }
    assert found["price"] == 1.5
    (found,) = answers("instance_types", {"InstanceTypes": [kind]}, prices={"other": 1}, memory_percent=50)
    assert found["slurm_node"]["slurm_node_real_memory"] == 500
    assert "price" not in found


def test_graphics_cards_without_name_or_number_are_still_named() -> None:
    gpus = [{"name": "A10G", "count": 2}, {"name": " Tesla V100-16 "}, {"count": 1}]
    found = node_variables({"gpu_info": {"gpus": gpus}}, 95)
    assert found == {"slurm_node_gres": ["gpu:a10g:2", "gpu:tesla_v100_16:0", "gpu:gpu:1"]}


def test_one_image_is_looked_up_where_no_number_is_given() -> None:
    images = [{"ImageId": name, "CreationDate": name} for name in ("a", "b")]
    assert [each["image_id"] for each in answers("images", {"Images": images}, owners=("self",))] == ["b"]
