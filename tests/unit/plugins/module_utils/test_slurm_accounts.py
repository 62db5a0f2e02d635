"""A document and what sacctmgr prints come to a state that is wanted, to sentences on what is wrong, and to few commands."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import AccountingError
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_accounts import (
    SHOW,
    Accounting,
    Facts,
    Key,
    parse,
    parse_facts,
)
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_accounts_document import complete, problems, read
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_accounts_plan import (
    Job,
    clusters_that_lose,
    parse_jobs,
    plan,
    refusals,
)
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_limits import ASSOCIATION, QOS


def association(*names: str, **values: str) -> str:
    return "|".join([*names, *(values.get(name, "") for name in ASSOCIATION)])


def qos(name: str, text: str, **values: str) -> str:
    return "|".join([name, *(values.get(each, "") for each in QOS), text])


# Two clusters; accounts science > physics on both; alice in physics on both and in science on one, bob in science.
PRINTED = {
    "clusters": "annex\nhpc\n",
    "federations": "site|annex\nsite|hpc|\n",
    "qos": "\n".join(
        [
            qos(
                "normal",
                "Normal QOS default",
                Priority="0",
                PreemptMode="cluster",
                GraceTime="00:00:00",
                UsageFactor="1.000000",
            ),
            qos("urgent", "at once", Priority="100", Preempt="normal", GrpTRES="cpu=4,mem=4G", MaxJobsPerUser="2"),
        ]
    ),
    "accounts": "physics|science|alice,bob|physics\nroot|root||default root account\nscience|science|bob|all | of science\n",
    "users": "alice|None\nbob|Operator\nroot|Administrator\n",
    "defaults": "annex|alice|physics\nhpc|alice|physics\nhpc|bob|science\nannex|root|root\nhpc|root|root\n",
    "associations": "\n".join(
        [
            association("annex", "root", "", "", "", Fairshare="1", QOS="normal"),
            association("annex", "root", "root", "", "", Fairshare="1"),
            association("annex", "science", "", "", "root", Fairshare="1"),
            association("annex", "physics", "", "", "science", Fairshare="1"),
            association("annex", "physics", "alice", "", "", Fairshare="1"),
            association("hpc", "root", "", "", "", Fairshare="1", QOS="normal"),
            association("hpc", "root", "root", "", "", Fairshare="1"),
            association("hpc", "science", "", "", "root", Fairshare="1", GrpTRES="cpu=8"),
            association("hpc", "science", "alice", "gpu", "", Fairshare="parent"),
            association("hpc", "science", "bob", "", "", Fairshare="1"),
            association("hpc", "physics", "", "", "science", Fairshare="40", QOS="normal,urgent", DefaultQOS="normal"),
            association("hpc", "physics", "alice", "", "", Fairshare="1", MaxJobs="3"),
        ]
    ),
    "tres": "cpu|\nmem|\ngres|gpu\n",
    "configuration": "ParameterX = y\nParameters             = (null)\n",
}
# The same as a document.
DOCUMENT: dict[str, Any] = {
    "clusters": [{"name": "hpc"}],
    "qos": [
        {"name": "normal"},
        {
            "name": "urgent",
            "parameters": {
                "Priority": 100,
                "Preempt": ["normal"],
                "GrpTRES": {"cpu": 4, "mem": "4G"},
                "MaxJobsPerUser": 2,
            },
        },
    ],
    "accounts": [
        {"name": "science", "parameters": {"GrpTRES": {"cpu": 8}}},
        {
            "name": "physics",
            "parent": "science",
            "coordinators": ["alice"],
            "parameters": {"Fairshare": 40, "QOS": ["urgent", "normal"], "DefaultQOS": "normal"},
        },
    ],
    "users": [
        {
            "name": "alice",
            "default_account": "physics",
            "accounts": [
                {"name": "physics", "parameters": {"MaxJobs": 3}},
                {"name": "science", "partitions": ["GPU"], "parameters": {"Fairshare": "parent"}},
            ],
        },
        {"name": "bob", "accounts": ["science"], "admin_level": "operator"},
    ],
}
ACTUAL = parse(PRINTED)
FACTS = parse_facts(PRINTED)


def changed(**kinds: Any) -> dict[str, Any]:
    """The document with other lists."""
    return {**copy.deepcopy(DOCUMENT), **kinds}


def target(document: dict[str, Any], purge: str = "none", actual: Accounting = ACTUAL) -> Accounting:
    return complete(read(document, actual.clusters), actual, purge)


def commands(document: dict[str, Any], purge: str = "none", actual: Accounting = ACTUAL) -> list[str]:
    return [" ".join(command) for command in plan(actual, target(document, purge, actual))]


def complaints(document: dict[str, Any], purge: str = "none", facts: Facts = FACTS) -> list[str]:
    wanted = read(document, ACTUAL.clusters)
    return list(problems(wanted, ACTUAL, complete(wanted, ACTUAL, purge), facts))


def test_what_sacctmgr_prints_is_read() -> None:
    assert ACTUAL.clusters == {"annex", "hpc"}
    assert ACTUAL.federations == {"site": {"annex", "hpc"}}
    assert ACTUAL.qos["urgent"].values["GrpTRES"] == "cpu=4,mem=4096M"
    assert ACTUAL.qos["normal"].values == {}
    assert ACTUAL.accounts["science"].description == "all | of science"
    assert ACTUAL.defaults["alice", "hpc"] == "physics"
    assert ACTUAL.users["bob"] == "Operator"
    assert ACTUAL.associations[Key("hpc", "science", "alice", "gpu")].values == {"Fairshare": "parent"}
    assert Facts(frozenset({"cpu", "mem", "gres/gpu"}), capitals_in_users=False) == FACTS
    assert all(len(line.split("|")) == len(ASSOCIATION) + 5 for line in PRINTED["associations"].splitlines())
    assert len(SHOW["associations"][-1].split(",")) == len(ASSOCIATION) + 5


def test_a_coordinator_of_the_account_above_is_not_the_accounts_own() -> None:
    assert ACTUAL.accounts["science"].coordinators == frozenset({"bob"})
    assert ACTUAL.accounts["physics"].coordinators == frozenset({"alice"})


@pytest.mark.parametrize("purge", ["none", "listed_scopes", "all"])
def test_a_document_that_is_true_changes_nothing(purge: str) -> None:
    assert target(DOCUMENT, purge) == ACTUAL
    assert commands(DOCUMENT, purge) == []
    assert complaints(DOCUMENT, purge) == []


def test_a_first_load_takes_a_command_for_each_kind_of_thing_not_for_each_thing() -> None:
    fresh = parse({**dict.fromkeys(PRINTED, ""), "clusters": "hpc", "qos": qos("normal", "Normal QOS default")})
    users = [{"name": f"user{number}", "accounts": ["physics"]} for number in range(5000)]
    done = commands(
        changed(users=[*DOCUMENT["users"], *users], federations=[{"name": "f", "clusters": ["hpc"]}]), "none", fresh
    )
    assert [" ".join(command.split()[:2]) for command in done] == [
        "add qos",
        "modify qos",
        "add account",
        "add account",
        "add user",
        "add user",
        "add user",
        "add user",
        "modify user",
        "add coordinator",
        "add federation",
    ]
    assert done[3] == (
        "add account physics Cluster=hpc Parent=science Description=physics Organization=science "
        "Fairshare=40 QOS=normal,urgent DefaultQOS=normal"
    )
    assert done[4] == "add user alice Cluster=hpc Account=physics DefaultAccount=physics MaxJobs=3"
    assert done[5] == "add user bob Cluster=hpc Account=science DefaultAccount=science"
    assert done[6].startswith("add user user0,user1,user2,")
    assert done[7] == "add user alice Cluster=hpc Account=science Partition=gpu Fairshare=parent"


NEW_CLUSTER = [
    "add cluster lab",
    "modify cluster where name=lab set Fairshare=3",
    "add account science Cluster=lab Parent=root GrpTRES=cpu=8",
    "add account physics Cluster=lab Parent=science Fairshare=40 QOS=normal,urgent DefaultQOS=normal",
    "add user alice Cluster=lab Account=physics DefaultAccount=physics MaxJobs=3",
    "add user bob Cluster=lab Account=science DefaultAccount=science",
    "add user alice Cluster=lab Account=science Partition=gpu Fairshare=parent",
]


@pytest.mark.parametrize(
    ("kinds", "wanted"),
    [
        (
            {"qos": [{"name": "urgent"}]},
            ["modify qos where name=urgent set Priority=0 Preempt= GrpTRES=cpu=-1,mem=-1 MaxJobsPerUser=-1"],
        ),
        (
            {"qos": [{"name": "normal", "description": "For All"}]},
            ["modify qos where name=normal set Description=for all"],
        ),
        (
            {"accounts": [{"name": "maths", "parameters": {}}, {"name": "logic", "organization": "x"}], "users": []},
            [
                "add account maths Cluster=hpc Parent=root Description=maths Organization=maths",
                "add account logic Cluster=hpc Parent=root Description=logic Organization=x",
            ],
        ),
        (
            {"accounts": [{"name": "physics", "coordinators": ["alice"]}, {"name": "science", "parent": "physics"}]},
            [
                "modify account where name=physics Cluster=hpc set Parent=root Fairshare=1 QOS= DefaultQOS=-1",
                "modify account where name=science Cluster=hpc set Parent=physics GrpTRES=cpu=-1",
            ],
        ),
        (
            {"accounts": [{**DOCUMENT["accounts"][1], "coordinators": []}], "users": []},
            ["delete coordinator Account=physics Names=alice"],
        ),
        (
            {"users": [{"name": "bob", "default_account": "physics", "accounts": ["science", "physics"]}]},
            ["add user bob Cluster=hpc Account=physics DefaultAccount=physics"],
        ),
        (
            {"users": [{"name": "carol", "accounts": ["science"], "admin_level": "operator"}]},
            [
                "add user carol Cluster=hpc Account=science DefaultAccount=science",
                "modify user where name=carol set AdminLevel=Operator",
            ],
        ),
        (
            {
                "users": [
                    {
                        "name": "alice",
                        "default_account": "science",
                        "accounts": ["physics", {"name": "science", "partitions": ["gpu"]}],
                    }
                ]
            },
            [
                "modify user where name=alice Cluster=hpc set DefaultAccount=science",
                "modify user where name=alice Cluster=hpc Account=science Partition=gpu set Fairshare=1",
                "modify user where name=alice Cluster=hpc Account=physics Partition= set MaxJobs=-1",
            ],
        ),
        ({"clusters": [{"name": "hpc"}, {"name": "lab", "parameters": {"Fairshare": 3}}]}, NEW_CLUSTER),
        (
            {"federations": [{"name": "other", "clusters": ["hpc"]}]},
            [
                "modify federation where name=site set Clusters=annex",
                "add federation other Clusters=hpc",
            ],
        ),
    ],
)
def test_a_change_is_one_command(kinds: dict[str, Any], wanted: list[str]) -> None:
    assert commands(changed(**kinds)) == wanted


@pytest.mark.parametrize(
    ("kinds", "purge", "wanted"),
    [
        ({"accounts": [], "users": []}, "none", []),
        ({"users": DOCUMENT["users"][:1]}, "none", []),
        ({"users": DOCUMENT["users"][:1]}, "listed_scopes", ["delete user where name=bob"]),
        (
            {"users": DOCUMENT["users"][1:]},
            "listed_scopes",
            [
                "delete user where name=alice Cluster=hpc Account=science Partition=gpu",
                "delete user where name=alice Cluster=hpc Account=physics Partition=",
            ],
        ),
        (
            {"accounts": [DOCUMENT["accounts"][0]], "users": DOCUMENT["users"][1:]},
            "listed_scopes",
            [
                "delete user where name=alice Cluster=hpc Account=science Partition=gpu",
                "delete user where name=alice Cluster=hpc Account=physics Partition=",
                "delete account where name=physics Cluster=hpc",
            ],
        ),
        ({"accounts": [], "users": []}, "listed_scopes", []),
        ({"users": None, "accounts": None, "qos": None}, "all", []),
        (
            {"users": None, "accounts": DOCUMENT["accounts"][:1]},
            "all",
            [
                "delete user where name=alice Cluster=hpc Account=physics Partition=",
                "delete account where name=physics Cluster=hpc",
            ],
        ),
        (
            {
                "clusters": [{"name": "hpc"}, {"name": "annex"}],
                "accounts": [],
                "users": [],
                "qos": [],
                "federations": [],
            },
            "all",
            [
                "delete user where name=alice,bob",
                "delete account where name=physics Cluster=annex,hpc",
                "delete account where name=science Cluster=annex,hpc",
                "delete account where name=physics,science",
                "delete qos where name=urgent",
                "delete federation where name=site",
            ],
        ),
    ],
)
def test_what_is_not_listed_goes_as_far_as_purge_says(kinds: dict[str, Any], purge: str, wanted: list[str]) -> None:
    assert commands(changed(**kinds), purge) == wanted


def test_default_accounts_go_after_others_and_not_with_them() -> None:
    """science is alice's second account on annex and bob's default one there."""
    more = [association("annex", "science", user, "", "", Fairshare="1") for user in ("alice", "bob")]
    printed = {
        **PRINTED,
        "associations": "\n".join([PRINTED["associations"], *more]),
        "defaults": f"{PRINTED['defaults']}annex|bob|science\n",
    }
    both = changed(clusters=[{"name": "annex"}, {"name": "hpc"}])
    for account in both["accounts"]:
        account["clusters"] = ["hpc"]
    assert commands(both, "all", parse(printed))[:4] == [
        "delete user where name=alice Cluster=annex Account=science Partition=",
        "delete user where name=alice Cluster=annex Account=physics Partition=",
        "delete user where name=bob Cluster=annex Account=science Partition=",
        "delete account where name=physics Cluster=annex",
    ]


def with_account(**account: Any) -> dict[str, Any]:
    return {"accounts": [*DOCUMENT["accounts"], {"name": "maths", **account}]}


@pytest.mark.parametrize(
    ("kinds", "sentence"),
    [
        (
            {"accounts": [{"name": "Science"}], "users": []},
            "account Science: there is science already, with other capitals; write it so",
        ),
        (with_account(name="Maths"), "account Maths: Slurm keeps its name in lower case; write maths"),
        (
            {"users": [{"name": "Carol", "accounts": ["science"]}]},
            "user Carol: Slurm keeps its name in lower case; write carol",
        ),
        (with_account(parent="nowhere"), "account maths: its parent nowhere does not exist on hpc"),
        (with_account(parent="maths"), "accounts: maths is in maths on hpc, which is a circle"),
        (
            {"accounts": [{"name": "science", "parent": "physics"}]},
            "accounts: science is in physics is in science on hpc, which is a circle",
        ),
        (
            with_account(parameters={"GrpTRES": {"cpus": 4}}),
            "account maths on hpc: GrpTRES limits cpus, which is no TRES here. Known are cpu, gres/gpu, mem",
        ),
        (with_account(parameters={"QOS": ["fast"]}), "account maths on hpc: QOS names the QOS fast, which is unknown"),
        (
            {"qos": [{"name": "normal", "parameters": {"Preempt": ["fast"]}}]},
            "QOS normal: Preempt names the QOS fast, which is unknown",
        ),
        (with_account(coordinators=["carol"]), "account maths: its coordinator carol is no user"),
        ({"users": [{"name": "carol", "accounts": ["maths"]}]}, "user carol: there is no account maths on hpc"),
        ({"federations": [{"name": "f", "clusters": ["x"]}]}, "federation f: there is no cluster x"),
        (
            {"federations": [{"name": "f", "clusters": ["hpc"]}, {"name": "g", "clusters": ["hpc"]}]},
            "federation f: cluster hpc is in another federation too",
        ),
    ],
)
def test_what_slurm_would_refuse_is_said_in_a_sentence(kinds: dict[str, Any], sentence: str) -> None:
    assert sentence in complaints(changed(**kinds))


def test_a_purged_qos_that_is_still_used_is_named() -> None:
    assert complaints(
        changed(qos=[{"name": "normal"}], accounts=[], users=[], clusters=[{"name": "annex"}]), "all"
    ) == ["account physics on hpc: QOS names the QOS urgent, which would be purged"]


def test_a_user_who_would_lose_the_default_account_alone_is_named() -> None:
    found = complaints(changed(accounts=[DOCUMENT["accounts"][1]], users=[]), "listed_scopes")
    assert found == [
        "user alice would lose the default account physics on hpc and stay in others there. List the user with a default_account"
    ]


def test_capitals_in_users_are_kept_where_slurmdbd_preserves_them() -> None:
    preserving = parse_facts({**PRINTED, "configuration": "Parameters = PreserveCaseUser\n"})
    assert complaints(changed(users=[{"name": "Carol", "accounts": ["science"]}]), facts=preserving) == []
    assert complaints(changed(users=[{"name": "Bob", "accounts": ["science"]}]), facts=preserving) != []


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({"users": [*DOCUMENT["users"], DOCUMENT["users"][0]]}, "users: alice is listed more than once"),
        ({"accounts": [{"name": "a b"}]}, "accounts: 'a b' is no name"),
        ({"accounts": [{"name": "root"}]}, "accounts: root is the cluster itself"),
        (
            {"accounts": [{"name": "maths", "clusters": ["annex"]}]},
            "account maths: annex is not among the document's clusters hpc",
        ),
        ({"users": [{"name": "carol", "accounts": []}]}, "user carol is in no account"),
        (
            {"users": [{"name": "carol", "accounts": ["science", "physics"]}]},
            "user carol is in several accounts on hpc; say which",
        ),
        (
            {"users": [{"name": "carol", "default_account": "physics", "accounts": ["science"]}]},
            "user carol: its default_account physics is not among its accounts on hpc",
        ),
        (
            {"users": [{"name": "carol", "accounts": ["science", {"name": "science"}]}]},
            "user carol: account science, user carol on hpc is listed more than once",
        ),
        (
            {"users": [{"name": "carol", "accounts": [{"name": "science", "limits": {}}]}]},
            "user carol: its accounts take clusters",
        ),
        (
            {"users": [{"name": "carol", "accounts": [3]}]},
            "user carol: each of its accounts must be a name, or have one; found 3",
        ),
    ],
)
def test_a_document_that_cannot_be_meant_is_refused(kinds: dict[str, Any], message: str) -> None:
    with pytest.raises(AccountingError) as error:
        read(changed(**kinds), ["hpc"])
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("share", "jobs", "words"),
    [
        (100, [], []),
        (49, [], ["1 of 2 users would be taken out of accounts (bob), which is more than purge_max_share, 49 %"]),
        (
            100,
            [Job("7", "hpc", "science", "bob", "normal", "RUNNING")],
            ["have jobs: job 7 of bob (running, account science"],
        ),
        (100, [Job("7", "hpc", "physics", "alice", "normal", "RUNNING")], []),
        (100, [Job("7", "annex", "science", "bob", "normal", "RUNNING")], []),
        (100, [Job("7", "hpc", "physics", "alice", "urgent", "PENDING")], ["have jobs: job 7 of alice (pending"]),
    ],
)
def test_users_and_accounts_with_jobs_are_protected(share: float, jobs: list[Job], words: list[str]) -> None:
    accounts = [DOCUMENT["accounts"][0], {"name": "physics", "parent": "science"}]
    wanted = target(changed(users=DOCUMENT["users"][:1], accounts=accounts, qos=[{"name": "normal"}]), "all")
    found = list(refusals(ACTUAL, wanted, jobs, share))
    assert len(found) == len(words)
    assert all(word in sentence for word, sentence in zip(words, found))


def test_only_clusters_that_lose_something_are_asked_for_jobs() -> None:
    assert clusters_that_lose(ACTUAL, ACTUAL) == []
    assert clusters_that_lose(ACTUAL, target(changed(users=[]), "all")) == ["hpc"]
    assert parse_jobs("hpc", "CLUSTER: hpc\n7_1|science|bob|normal|RUNNING\n") == [
        Job("7_1", "hpc", "science", "bob", "normal", "RUNNING")
    ]


def test_accounts_below_are_found_at_any_depth() -> None:
    actual = parse(PRINTED)
    assert actual.below("hpc", ["root"]) == {"science", "physics"}
    assert actual.below("hpc", ["physics"]) == set()
    assert actual.below("other", ["root"]) == set()


def test_every_object_is_described_in_a_line() -> None:
    lines = parse(PRINTED).describe()
    assert {name: line for name, line in lines.items() if not name.startswith("association")} == {
        "cluster annex": "registered",
        "cluster hpc": "registered",
        "federation site": "annex,hpc",
        "qos normal": "Description=normal qos default",
        "qos urgent": "Description=at once Priority=100 Preempt=normal GrpTRES=cpu=4,mem=4096M MaxJobsPerUser=2",
        "account physics": "Description=physics Organization=science Coordinators=alice",
        "account root": "Description=default root account Organization=root",
        "account science": "Description=all | of science Organization=science Coordinators=bob",
        "user alice": "AdminLevel=None",
        "user bob": "AdminLevel=Operator",
        "user root": "AdminLevel=Administrator",
        "default account of alice on annex": "physics",
        "default account of alice on hpc": "physics",
        "default account of bob on hpc": "science",
        "default account of root on annex": "root",
        "default account of root on hpc": "root",
    }
    assert lines[f"association of {Key('annex', 'root', 'root')}"] == "without limits"
    assert lines[f"association of {Key('hpc', 'physics', 'alice')}"] == "MaxJobs=3"


def test_document_is_about_the_clusters_that_it_names_or_about_all() -> None:
    assert read(DOCUMENT, ["annex", "hpc"]).wanted.clusters == {"hpc"}
    assert read({}, ["annex", "hpc"]).wanted.clusters == {"annex", "hpc"}


def test_description_that_sacctmgr_could_not_print_is_refused_with_its_owner() -> None:
    with pytest.raises(AccountingError, match=r"^QOS normal: its description must be one line .*; found 'a\|b'$"):
        read({"qos": [{"name": "normal", "description": "a|b"}]}, ["hpc"])


def test_new_cluster_has_what_slurm_makes_with_it() -> None:
    document = read({"clusters": [{"name": "fresh"}]}, [])
    result = complete(document, parse(PRINTED), "none")
    assert result.associations[Key("fresh", "root", "root")].values == {}
    assert result.associations[Key("fresh", "root")].values == {"QOS": "normal"}
    assert result.defaults["root", "fresh"] == "root"


def test_coordinator_of_an_account_above_is_none_of_the_account_itself() -> None:
    accounts = [
        {"name": "science", "coordinators": ["bob"]},
        {"name": "physics", "parent": "science", "coordinators": ["alice", "bob"]},
    ]
    result = complete(read({"clusters": [{"name": "hpc"}], "accounts": accounts}, []), parse(PRINTED), "none")
    assert result.accounts["physics"].coordinators == frozenset({"alice"})
    assert result.accounts["science"].coordinators == frozenset({"bob"})
