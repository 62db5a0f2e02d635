"""Accounts as data: slurmdbd keeps what the document says, Slurm enforces it, and nothing is removed that is protected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import PREFIX, eventually, names, variables_of
from ansible_collections.hpcops.cluster.tests.support.runs import Run, run_playbook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

ONE = names("slurmdbd")[0]
testinfra_hosts = [f"docker://{PREFIX}{ONE}"]
DOCUMENT = ("qos", "accounts", "users")


def document() -> dict[str, Any]:
    """The scenario's document, to be changed by a test."""
    return {kind: variables_of(ONE)[kind] for kind in DOCUMENT}


def keep(*arguments: str, **variables: Any) -> Run:
    """Run the module once more."""
    return run_playbook("--tags", "accounts", *arguments, variables=variables)


def result(run: Run) -> dict[str, Any]:
    return next(found for task, _host, found in run.results if task == "Keep the accounts as data")


def shown(host: Host, what: str) -> list[str]:
    """Lines that sacctmgr shows."""
    return str(host.check_output(f"sacctmgr --noheader --parsable2 show {what}")).splitlines()


def associations(host: Host) -> list[str]:
    return shown(host, "association wopl where cluster=molecule format=Account,User,Partition")


def everything(host: Host) -> list[str]:
    kinds = ("qos", "account withcoord", "user withassoc", "association wopl", "federation", "cluster format=Cluster")
    return [line for kind in kinds for line in shown(host, kind)]


def submit(host: Host, user: str, *options: str, seconds: int = 60) -> str:
    """The number of a new job."""
    command = f"sbatch --parsable --output=/dev/null {' '.join(options)} --wrap 'sleep {seconds}'"
    return str(host.check_output(f"runuser -u {user} -- {command}")).strip()


def reason(host: Host, job: str) -> str:
    return str(host.check_output(f"squeue --noheader --job {job} --format='%T %r'")).strip()


@pytest.fixture
def _document_afterwards() -> Iterator[None]:
    """The test leaves the accounts as the scenario's document has them."""
    yield
    keep(purge_max_share=100).succeeded()


@pytest.fixture
def _no_jobs_afterwards(host: Host) -> Iterator[None]:
    yield
    host.check_output("scancel --state=PENDING && scancel --state=RUNNING")
    eventually(lambda: host.check_output("squeue --noheader"), lambda text: text == "")


def test_accounts_users_and_qos_are_as_the_document_says(host: Host) -> None:
    assert sorted(associations(host)) == [
        "physics|alice|",
        "physics||",
        "root|root|",
        "root||",
        "science|alice|",
        "science|alice|main",
        "science|bob|",
        "science||",
    ]
    limits = "association wopl where account=physics user= format=ParentName,Share,GrpTRES,MaxWall,QOS,DefaultQOS"
    assert shown(host, limits) == ["science|40|cpu=1,mem=2G|12:00:00|normal,single|normal"]
    assert shown(host, "account withcoord where name=physics format=Organization,Coordinators") == ["faculty|bob"]
    assert shown(host, "user where name=alice,bob format=User,Admin,DefaultAccount") == [
        "alice|None|physics",
        "bob|Operator|science",
    ]
    assert shown(host, "qos where name=single format=Priority,MaxJobsPU,Preempt") == ["100|1|normal"]


@pytest.mark.usefixtures("_document_afterwards")
def test_a_changed_document_changes_what_it_changes_and_nothing_else(host: Host) -> None:
    before = everything(host)
    changed = document()
    changed["accounts"][1]["parameters"] = {"Fairshare": 7, "GrpTRES": {"cpu": 2}, "QOS": ["normal"]}
    changed["users"][0]["default_account"] = "science"
    planned = result(keep("--check", **changed).succeeded())
    assert everything(host) == before
    done = result(keep(**changed).succeeded())
    assert (
        done["commands"]
        == planned["commands"]
        == [
            "sacctmgr modify account where name=physics Cluster=molecule "
            "set Fairshare=7 GrpTRES=cpu=2,mem=-1 MaxWall=-1 QOS=normal DefaultQOS=-1",
            "sacctmgr modify user where name=alice Cluster=molecule set DefaultAccount=science",
        ]
    )
    assert done["diff"] == planned["diff"]
    assert shown(host, "association wopl where account=physics user= format=Share,GrpTRES,MaxWall,QOS,DefaultQOS") == [
        "7|cpu=2||normal|"
    ]
    assert not keep(**changed).succeeded().changed


@pytest.mark.usefixtures("_document_afterwards")
def test_an_account_moves_with_all_that_is_in_it(host: Host) -> None:
    changed = document()
    changed["accounts"][1]["parent"] = "root"
    changed["accounts"][0]["parent"] = "physics"
    keep(**changed).succeeded()
    parents = shown(host, "association wopl where cluster=molecule user= format=Account,ParentName")
    assert sorted(parents) == ["physics|root", "root|", "science|physics"]
    assert not keep(**changed).succeeded().changed


@pytest.mark.usefixtures("_document_afterwards")
def test_what_the_document_does_not_list_stays_without_purge(host: Host) -> None:
    shorter = document()
    shorter["users"].pop()
    shorter["accounts"][1]["coordinators"] = []
    keep(**shorter, purge="none").succeeded()
    assert "science|bob|" in associations(host)


@pytest.mark.usefixtures("_document_afterwards")
def test_purge_of_listed_scopes_leaves_accounts_beside_them(host: Host) -> None:
    for command in (
        "add account beside,beneath Cluster=molecule",
        "modify account where name=beneath Cluster=molecule set Parent=physics",
        "add user carol Account=beneath Cluster=molecule",
        "add user dave Account=beside Cluster=molecule",
        "add user dave Account=science Cluster=molecule",
    ):
        host.check_output(f"sacctmgr --immediate {command}")
    done = result(keep(purge="listed_scopes", purge_max_share=50).succeeded())
    assert done["removed"] == {"accounts": ["beneath"], "users": ["carol"], "qos": [], "associations": 3}
    assert "beside|dave|" in associations(host)
    done = result(keep(purge="all", purge_max_share=50).succeeded())
    assert done["removed"] == {"accounts": ["beside"], "users": ["dave"], "qos": [], "associations": 2}


@pytest.mark.usefixtures("_document_afterwards")
def test_a_purge_of_many_users_is_refused(host: Host) -> None:
    before = everything(host)
    shorter = document()
    shorter["users"].pop()
    shorter["accounts"][1]["coordinators"] = []
    run = keep(**shorter).failed()
    assert "1 of 2 users would be taken out of accounts (bob), which is more than purge_max_share, 10 %" in run.failure
    assert everything(host) == before
    assert result(keep(**shorter, purge_max_share=50).succeeded())["removed"]["users"] == ["bob"]


@pytest.mark.usefixtures("_no_jobs_afterwards")
@pytest.mark.parametrize("held", [False, True], ids=["running", "waiting"])
def test_an_account_with_a_job_is_not_removed(host: Host, held: bool) -> None:
    job = submit(host, "bob", "--hold" if held else "")
    eventually(lambda: reason(host, job), lambda text: text.startswith("PENDING" if held else "RUNNING"))
    before = everything(host)
    shorter = document()
    shorter["users"].pop()
    shorter["accounts"][1]["coordinators"] = []
    run = keep(**shorter, purge_max_share=100).failed()
    assert f"have jobs: job {job} of bob ({'pending' if held else 'running'}, account science" in run.failure
    assert everything(host) == before


def test_all_errors_are_named_before_anything_is_changed(host: Host) -> None:
    before = everything(host)
    wrong = document()
    wrong["accounts"][0]["parent"] = "physics"
    wrong["accounts"].append({"name": "Maths", "parameters": {"GrpTRES": {"cpus": 4}, "DefaultQOS": "fast"}})
    wrong["users"].append({"name": "carol", "accounts": ["nowhere"]})
    run = keep(**wrong).failed()
    assert run.failure.startswith("Nothing was changed: ")
    for words in (
        "write maths",
        "circle",
        "cpus, which is no TRES",
        "QOS fast, which is unknown",
        "no account nowhere",
    ):
        assert words in run.failure
    assert everything(host) == before


@pytest.mark.usefixtures("_no_jobs_afterwards")
def test_slurm_holds_a_second_job_of_a_qos_for_one(host: Host) -> None:
    options = "--account=science", "--qos=single"
    first = submit(host, "alice", *options)
    eventually(lambda: reason(host, first), lambda text: text.startswith("RUNNING"))
    second = submit(host, "alice", *options)
    assert eventually(lambda: reason(host, second), lambda text: "QOS" in text) == "PENDING QOSMaxJobsPerUserLimit"


@pytest.mark.usefixtures("_no_jobs_afterwards")
def test_slurm_holds_a_job_above_the_accounts_limit(host: Host) -> None:
    job = submit(host, "alice", "--account=physics", "--ntasks=2")
    assert eventually(lambda: reason(host, job), lambda text: "Assoc" in text) == "PENDING AssocGrpCpuLimit"


def test_slurm_refuses_a_job_of_somebody_who_is_not_in_the_account(host: Host) -> None:
    refused = host.run("runuser -u bob -- sbatch --account=physics --output=/dev/null --wrap 'true'")
    assert refused.rc != 0
    assert "Invalid account" in refused.stderr


@pytest.mark.usefixtures("_document_afterwards")
def test_a_new_cluster_is_registered_with_its_accounts(host: Host) -> None:
    both = [{"name": "molecule"}, {"name": "spare", "parameters": {"Fairshare": 3}}]
    wanted = document()
    for entry in wanted["accounts"]:
        entry["clusters"] = ["molecule"]
    wanted["accounts"].append({"name": "away", "clusters": ["spare"]})
    wanted["users"][1] = {"name": "bob", "default_account": None, "accounts": ["science", "away"]}
    keep(**wanted, clusters=both).succeeded()
    try:
        defaults = shown(host, "user withassoc where name=bob format=Cluster,DefaultAccount")
        assert sorted(defaults) == ["molecule|science", "spare|away"]
        assert shown(host, "association wopl where cluster=spare account=root user= format=Share,QOS") == ["3|normal"]
        assert not keep(**wanted, clusters=both).succeeded().changed
    finally:
        keep(**{**document(), "accounts": wanted["accounts"][:2]}, clusters=both, purge_max_share=100).succeeded()
        host.check_output("sacctmgr --immediate delete cluster spare")


@pytest.mark.usefixtures("_document_afterwards")
def test_a_job_submitted_on_one_cluster_of_a_federation_runs_on_the_other(host: Host) -> None:
    both = [{"name": "molecule"}, {"name": "annex"}]
    joined = {"clusters": both, "federations": [{"name": "site", "clusters": ["annex", "molecule"]}]}
    keep(**joined).succeeded()
    found = {line.rstrip("|") for line in shown(host, "federation format=Federation,Cluster")}
    assert found == {"site|annex", "site|molecule"}
    assert not keep(**joined).succeeded().changed
    jobs = "squeue --clusters=annex --noheader --states=PENDING,RUNNING,COMPLETING --Format=State,NodeList"
    host.check_output("scontrol update NodeName=one State=DRAIN Reason=test")
    try:
        job = submit(host, "alice", "--account=science")
        seen = eventually(lambda: host.check_output(jobs).split(), lambda words: "RUNNING" in words, seconds=60)
        assert seen[-2:] == ["RUNNING", "two"]
        host.check_output(f"scancel --clusters=annex {job}")
        eventually(lambda: host.check_output(jobs), lambda text: "RUNNING" not in text, seconds=60)
    finally:
        host.check_output("scontrol update NodeName=one State=RESUME")
        here = document()["accounts"]
        for entry in here:
            entry["clusters"] = ["molecule"]
        keep(clusters=both, federations=[], accounts=here, purge_max_share=100).succeeded()
    assert shown(host, "federation format=Federation") == []
