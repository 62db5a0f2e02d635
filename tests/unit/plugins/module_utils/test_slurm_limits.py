"""What people write for a limit and what sacctmgr prints come to the same form."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import AccountingError
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_limits import (
    ASSOCIATION,
    QOS,
    Parameter,
    assignments,
    canonical,
    shown,
)


@pytest.mark.parametrize(
    ("table", "name", "written", "printed"),
    [
        (ASSOCIATION, "Fairshare", 40, "40"),
        (ASSOCIATION, "Fairshare", "Parent", "parent"),
        (ASSOCIATION, "GrpTRES", {"mem": "4G", "cpu": 8, "gres/gpu": 2}, "cpu=8,gres/gpu=2,mem=4096M"),
        (ASSOCIATION, "GrpTRES", "mem=4096,cpu=8", "cpu=8,mem=4G"),
        (ASSOCIATION, "GrpTRES", {"mem": "1.5G"}, "mem=1.50G"),
        (ASSOCIATION, "MaxWall", 90, "01:30:00"),
        (ASSOCIATION, "MaxWall", "1-12", "1-12:00:00"),
        (ASSOCIATION, "MaxWall", "2-12:30", "2-12:30:00"),
        (ASSOCIATION, "MaxWall", "48:00:00", "2-00:00:00"),
        (ASSOCIATION, "MaxWall", "10:30", "00:11:00"),
        (ASSOCIATION, "QOS", ["urgent", "Normal"], "normal,urgent"),
        (ASSOCIATION, "MaxJobs", 0, "0"),
        (QOS, "Flags", ["DenyOnLimit", "OverPartQOS"], "DenyOnLimit,OverPartQOS"),
        (QOS, "GraceTime", 120, "00:02:00"),
        (QOS, "PreemptExemptTime", "00:00:30", "00:00:30"),
        (QOS, "UsageFactor", 0.5, "0.500000"),
    ],
)
def test_a_written_value_equals_what_slurm_shows_of_it(
    table: dict[str, Parameter], name: str, written: Any, printed: str
) -> None:
    fields = [printed if each == name else "" for each in table]
    values = canonical(table, {name: written}, "account physics")
    assert values == shown(table, fields)
    assert list(values) == [name]


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (ASSOCIATION, {"Fairshare": 1, "MaxJobs": None, "GrpTRES": {"cpu": -1}, "MaxWall": "-1", "QOS": []}),
        (QOS, {"UsageFactor": 1.0, "PreemptMode": "cluster", "GraceTime": 0, "Priority": 0, "MaxWall": "UNLIMITED"}),
    ],
)
def test_what_slurm_has_by_itself_is_no_value(table: dict[str, Parameter], values: dict[str, Any]) -> None:
    assert canonical(table, values, "it") == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"maxjobs": 3}, "account physics: there is no parameter 'maxjobs'; write MaxJobs"),
        ({"GrpSubmit": 3}, "account physics: there is no parameter 'GrpSubmit'; write GrpSubmitJobs"),
        ({"Limit": 3}, "account physics: there is no parameter 'Limit'. Known are DefaultQOS, Fairshare"),
        ({"MaxJobs": "many"}, "account physics: MaxJobs must be a whole number; found 'many'"),
        ({"MaxJobs": True}, "account physics: MaxJobs must be a text or a number; found True"),
        ({"MaxWall": "1h"}, "account physics: MaxWall must be a time such as"),
        ({"GrpTRES": "4"}, "account physics: GrpTRES must be resources with amounts"),
        ({"GrpTRES": {"cpu": "4G"}}, "account physics: GrpTRES must have a whole number for cpu, not '4G'"),
        ({"GrpTRES": {"mem": "much"}}, "account physics: GrpTRES must have a size such as 512G for mem, not 'much'"),
        ({"GrpTRES": {"mem": "1K"}}, "account physics: GrpTRES must have whole mebibytes for mem, not '1K'"),
        ({"DefaultQOS": "a b"}, "account physics: DefaultQOS must be one name"),
    ],
)
def test_a_wrong_value_is_named_with_its_object(given: dict[str, Any], message: str) -> None:
    with pytest.raises(AccountingError) as error:
        canonical(ASSOCIATION, given, "account physics")
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {"Fairshare": "5", "GrpTRES": "cpu=4,mem=10M"}, ["Fairshare=5", "GrpTRES=cpu=4,mem=10M"]),
        ({"GrpTRES": "cpu=4,mem=10M"}, {"GrpTRES": "cpu=5"}, ["GrpTRES=cpu=5,mem=-1"]),
        (
            {"Fairshare": "5", "MaxWall": "01:00:00", "QOS": "normal", "DefaultQOS": "normal"},
            {},
            ["Fairshare=1", "MaxWall=-1", "QOS=", "DefaultQOS=-1"],
        ),
        ({"MaxJobs": "1"}, {"MaxJobs": "1"}, []),
    ],
)
def test_only_what_differs_is_told_and_what_is_gone_is_lifted(
    before: dict[str, str], after: dict[str, str], told: list[str]
) -> None:
    assert assignments(ASSOCIATION, before, after) == told
