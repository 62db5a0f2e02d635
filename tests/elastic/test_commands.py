"""The commands as people and slurmctld run them."""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.hpcops.cluster.tests.support.ec2_service import Ec2
from conftest import Cluster
from hpcops_elastic.cli import main
from hpcops_elastic.hosts import expand
from hpcops_elastic.journal import ALIVE, Journal, Launch, Started
from hpcops_elastic.pools import pool_of_row
from hpcops_elastic.reports import write_metrics
from hpcops_elastic.verdicts import Kind
from stand_ins import LINE, Programs

SOURCE = Path(__file__).resolve().parents[2] / "roles" / "slurm_elastic" / "files"
NODES = [f"cpu-{number}" for number in range(1, 2001)]
NEW = {
    "jobs": [
        {"extra": None, "job_id": 41, "features": "", "nodes_alloc": "cpu-[1-2]", "nodes_resume": "cpu-2"},
        {"job_id": 42, "nodes_alloc": "cpu-7", "nodes_resume": "cpu-7", "oversubscribe": "OK", "partition": "cloud"},
    ],
    "all_nodes_resume": "cpu-[2,7]",
}
OLD = {"jobs": [{"job_id": 41, "nodes": "cpu-2"}, {"job_id": 42, "nodes": "cpu-7"}], "all_nodes": "cpu-[2,7]"}


class Site:
    """A cluster's file of configuration, Slurm's programs, and the program on them."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.programs = Programs(folder / "bin", NODES)
        self.file = folder / "config.yml"
        self.metrics = folder / "elastic.prom"
        self.write()
        self.journal = cluster.journal
        self.beat()

    def write(self, **changes: Any) -> None:
        given = self.cluster.config.model_dump(mode="json")
        given.update(path=self.programs.path, metrics=str(self.metrics), **changes)
        self.file.write_text(json.dumps(given), encoding="utf-8")

    def beat(self) -> None:
        self.journal.note(ALIVE, time.time())

    def process(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """As slurmctld starts it, with nearly no environment."""
        return subprocess.run(
            self.argv(*arguments),
            env={**self.environment(), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "hpcops_elastic", "--config", str(self.file), *arguments]

    @staticmethod
    def environment() -> dict[str, str]:
        return {"PYTHONPATH": str(SOURCE)}

    def resume(self, nodes: str, content: Any = None) -> subprocess.CompletedProcess[str]:
        if content is None:
            return self.process("resume", nodes)
        path = self.folder / "resume.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return self.process("resume", nodes, SLURM_RESUME_FILE=str(path))

    def run(self, *arguments: str) -> int:
        return main(["--config", str(self.file), *arguments])

    def wants(self) -> dict[str, str]:
        return {row["node"]: row["job"] for row in self.journal.rows("SELECT node, job FROM wants")}

    def instance(self, node: str, started: float, ended: float | None = None, job: str = "7", **more: Any) -> str:
        """One that the journal has."""
        known = len(self.journal.rows("SELECT id FROM instances"))
        name, token = f"i-{known:017x}", f"alpha-{known}"
        launch = Launch(token, "cpu", "one", "eu-central-1", "subnet-1", "c5.4xlarge", "on-demand", (node,))
        self.journal.want([(node, "cpu", job, False)])
        self.journal.send(launch, {})
        self.journal.answered(launch, [Started(name, 0, started=started)], more.get("price", 0.8))
        if ended is not None:
            self.journal.change("DELETE FROM wants WHERE node = ?", node)
            self.journal.change("UPDATE instances SET state = 'gone', ended = ? WHERE id = ?", ended, name)
        return name


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path) -> Site:
    return Site(cluster, tmp_path)


def at(text: str) -> float:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp()


# --- Slurm's programs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [NEW, OLD], ids=["since 23.02", "before 23.02"])
def test_resume_knows_each_nodes_job_by_the_file(site: Site, content: dict[str, Any]) -> None:
    done = site.resume("cpu-[2,7,9]", content)
    assert (done.returncode, done.stderr) == (0, "")
    assert site.wants() == {"cpu-2": "41", "cpu-7": "42", "cpu-9": ""}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"jobs": null}', json.dumps({"jobs": [{"job_id": 3}]})])
def test_resume_takes_its_argument_where_the_file_says_nothing(site: Site, content: str) -> None:
    assert site.resume("cpu-[1-2]", content).returncode == 0
    assert site.wants() == {"cpu-1": "", "cpu-2": ""}


def test_resume_takes_its_argument_where_the_file_is_gone(site: Site) -> None:
    assert site.process("resume", "cpu-1", SLURM_RESUME_FILE="/proc/1/fd/99").returncode == 0
    assert site.wants() == {"cpu-1": ""}


def test_resume_with_a_silent_service_gives_the_nodes_back_and_says_why(site: Site) -> None:
    site.journal.note(ALIVE, time.time() - 3600)
    done = site.resume("cpu-[1-3]")
    assert done.returncode == 1
    assert done.stderr == (
        "slurm-elastic resume: service: hpcops-elastic.service shows no sign of life on this controller; look at its journal "
        "and start it.\n"
    )
    assert site.wants() == {}
    nowhere, down, off = site.programs.told()
    assert nowhere == "update nodename=cpu-[1-3] nodeaddr=192.0.2.1,192.0.2.1,192.0.2.1"
    assert down.startswith(
        "update nodename=cpu-[1-3] state=DOWN reason=elastic: service: hpcops-elastic.service shows no"
    )
    assert off == "update nodename=cpu-[1-3] state=POWER_DOWN"


def test_resume_says_both_where_slurm_cannot_be_told_either(site: Site) -> None:
    site.journal.note(ALIVE, 0)
    site.programs.broken.touch()
    done = site.resume("cpu-1")
    assert done.returncode == 1
    assert "shows no sign of life" in done.stderr
    assert "and Slurm cannot be told: scontrol update nodename=cpu-1 failed: Unable to contact slurm" in done.stderr
    assert "Traceback" not in done.stderr


def test_nodes_of_no_group_go_back_to_slurm_and_the_others_are_on_their_way(site: Site) -> None:
    done = site.resume("cpu-1,gpu-[1-2]")
    assert done.returncode == 1
    assert "configuration: no group has gpu-[1-2]; the others are on their way." in done.stderr
    assert site.wants() == {"cpu-1": ""}
    assert [told.split(" reason=")[0] for told in site.programs.told()] == [
        "update nodename=gpu-[1-2] nodeaddr=192.0.2.1,192.0.2.1",
        "update nodename=gpu-[1-2] state=DOWN",
        "update nodename=gpu-[1-2] state=POWER_DOWN",
    ]


def test_resume_with_a_journal_that_is_locked_for_long_gives_the_nodes_back(site: Site, monkeypatch: Any) -> None:
    monkeypatch.setattr("hpcops_elastic.journal.PATIENCE", 0.2)
    with site.journal.transaction():
        assert site.run("resume", "cpu-1") == 1
    assert "the journal" in site.programs.told()[1]
    assert "database is locked" in site.programs.told()[1]


def test_suspend_and_resume_fail_write_what_slurm_says(site: Site) -> None:
    site.resume("cpu-[1-4]", NEW)
    assert site.process("suspend", "cpu-[1-2]").returncode == 0
    assert sorted(site.wants()) == ["cpu-3", "cpu-4"]
    assert site.process("resume-fail", "cpu-3").returncode == 0
    assert sorted(site.wants()) == ["cpu-4"]
    reason = site.journal.rows("SELECT reason FROM failures WHERE node = 'cpu-3'")[0]["reason"]
    assert reason == "elastic: it could not be launched in time; last: no answer of EC2"


@pytest.mark.parametrize("command", ["resume", "suspend", "resume-fail", "plan"])
@pytest.mark.parametrize("nodes", ["cpu-[1", "cpu-[3-1]", "@all", "a b["])
def test_what_is_no_host_list_is_told(site: Site, capsys: Any, command: str, nodes: str) -> None:
    assert site.run(command, nodes) == 1
    said = capsys.readouterr().err
    assert f"slurm-elastic {command}: '{nodes}' is no list of nodes such as c[1-3,7]" in said
    assert site.wants() == {}


def test_the_service_ends_when_it_is_told_to_with_work_left(site: Site, ec2: Ec2) -> None:
    ec2.delay = 0.5
    environment = {**site.environment(), **{key: value for key, value in os.environ.items() if key.startswith("AWS_")}}
    process = subprocess.Popen(site.argv("serve"), env=environment, stderr=subprocess.PIPE, text=True)
    site.journal.want((name, "cpu", "7", False) for name in NODES[:20])
    end = time.monotonic() + 60
    while not site.cluster.calls():
        assert time.monotonic() < end
        time.sleep(0.02)
    site.journal.want((name, "cpu", "8", False) for name in NODES[20:40])
    process.send_signal(signal.SIGTERM)
    _out, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert site.journal.rows("SELECT count(*) AS number FROM wants WHERE state = 'launched'")[0]["number"] == 20


# --- The configuration and the journal -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cluster": "a b"}, "cluster: String should match pattern"),
        ({"clutser": "alpha"}, "clutser: Extra inputs are not permitted (it is 'alpha')"),
        ({"timing": {"grace": -1}}, "timing.grace: Input should be greater than or equal to 0 (it is -1)"),
        ({"limits": {"vcpus": "many"}}, "limits.vcpus: Input should be a valid integer"),
        ({"groups": []}, "groups: Tuple should have at least 1 item"),
        ({"instance_types": {}}, "groups: cpu: instance_types does not say what c5.4xlarge is"),
        ({"accounts": [{"name": "one"}]}, "groups: cpu: accounts has no two"),
        ({"accounts": [{"name": "one"}] * 2}, "accounts: two have the same name"),
    ],
)
def test_a_wrong_value_is_told_with_its_variable(site: Site, capsys: Any, change: dict[str, Any], said: str) -> None:
    site.write(**change)
    assert site.run("check") == 1
    assert f"slurm-elastic check: {site.file}: {said}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"region": "Frankfurt"}, "groups.0.places.0.region: String should match pattern"),
        ({"image": ""}, "groups.0.places.0: give either image or launch_template, which holds one"),
        ({"subnets": []}, "groups.0.places.0.subnets: Tuple should have at least 1 item"),
    ],
)
def test_a_wrong_value_in_a_place_is_told_with_its_variable(
    site: Site, capsys: Any, change: dict[str, Any], said: str
) -> None:
    groups = site.cluster.config.model_dump(mode="json")["groups"]
    groups[0]["places"][0].update(change)
    site.write(groups=groups)
    assert site.run("check") == 1
    assert f"slurm-elastic check: {site.file}: {said}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"a: [", "is no YAML"),
        (b"\xff\xfe\x00", "is no YAML"),
        (b"- a", "holds no settings"),
        (b"", "holds no settings"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(site: Site, capsys: Any, content: bytes | None, said: str) -> None:
    if content is None:
        site.file.unlink()
    else:
        site.file.write_bytes(content)
    for command in (["check"], ["status"], ["resume", "cpu-1"]):
        assert site.run(*command) == 1
        assert f"slurm-elastic {command[0]}: {site.file} {said}" in capsys.readouterr().err


def test_check_says_what_there_is(site: Site, capsys: Any) -> None:
    assert site.run("check") == 0
    assert capsys.readouterr().out == "1 groups, 2000 nodes: cpu-[1-2000]\n"


def test_a_journal_of_another_schema_is_not_touched(site: Site, capsys: Any) -> None:
    site.journal.change("PRAGMA user_version = 7")
    for command in (["status"], ["resume", "cpu-1"], ["reconcile"]):
        assert site.run(*command) == 1
        said = capsys.readouterr().err
        assert f"the journal {site.journal.path} has schema 7, and this program knows 1; end all instances" in said
    assert site.wants() == {}
    assert "state=DOWN reason=elastic: the journal" in site.programs.told()[1]


def test_what_is_no_journal_is_told(site: Site, capsys: Any) -> None:
    site.write(journal=str(site.file))
    assert site.run("status") == 1
    assert f"the journal {site.file} cannot be used: file is not a database" in capsys.readouterr().err
    site.write(journal=str(site.folder / "none" / "journal.sqlite"))
    assert site.run("status") == 1
    assert "cannot be used: No such file or directory" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_journal_that_a_person_makes_is_the_services(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12346)
    Journal(tmp_path / "journal.sqlite").note("some", "thing")
    for path in tmp_path.iterdir():
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)
        assert path.stat().st_mode & 0o077 == 0


# --- What people ask -------------------------------------------------------------------------------------------------------


def test_status_of_an_empty_journal(site: Site, capsys: Any) -> None:
    site.journal.change("DELETE FROM settings")
    assert site.run("status") == 0
    said = capsys.readouterr().out
    assert said.startswith("cluster alpha: the service is silent (never seen), compared never\n")
    assert re.search(r"^cpu +2000 +0 +0 +0 +0 +0 +0 +0\.00 +-$", said, re.MULTILINE)
    assert site.run("status", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["service"] == {"alive": False, "seconds_silent": None}
    assert found["reconciled_seconds_ago"] is None
    for command in (["costs"], ["costs", "--csv"], ["clear"], ["plan", "cpu-1"]):
        assert site.run(*command) == 0, command


def test_status_tells_what_is_avoided_given_back_and_ending(site: Site, capsys: Any) -> None:
    now = time.time()
    site.instance("cpu-1", now)
    site.journal.end([site.instance("cpu-2", now)], "suspended")
    site.journal.want([("cpu-3", "cpu", "9", False), ("cpu-4", "cpu", "9", False)])
    site.journal.give_up(["cpu-5", "cpu-6"], "elastic: capacity: none left")
    site.journal.cool("pool|cpu|one|eu-central-1|subnet-1|c5.4xlarge", Kind.BOOT, "boot: 3 in a row", 0, 0)
    site.journal.cool("capacity|one|eu-central-1|subnet-2|c5.4xlarge|on-demand", Kind.CAPACITY, "capacity: no", 60, 600)
    assert site.run("status") == 0
    said = capsys.readouterr().out
    assert "the service is at work" in said
    assert re.search(r"^cpu +2000 +2 +0 +2 +0 +2 +32 +1\.60 +-$", said, re.MULTILINE)
    assert re.search(
        r"^pool\|cpu\|one\|eu-central-1\|subnet-1\|c5\.4xlarge +cleared +boot: 3 in a row$", said, re.MULTILINE
    )
    assert re.search(
        r"subnet-2\|c5\.4xlarge\|on-demand +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d +capacity: no$", said, re.MULTILINE
    )
    assert re.search(r"^cpu-\[5-6\] +elastic: capacity: none left$", said, re.MULTILINE)
    assert "ending: 1 instances" in said
    assert site.run("status", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["groups"][0]["wanted"] == 2
    assert found["groups"][0]["instances"] == 2
    assert [each["node"] for each in found["failures"]] == ["cpu-5", "cpu-6"]
    assert {each["until"] is None for each in found["avoided"]} == {True, False}
    assert len(found["ending"]) == 1


def test_status_waits_until_nothing_is_on_its_way(site: Site) -> None:
    site.journal.want([("cpu-1", "cpu", "7", False)])
    process = subprocess.Popen(
        site.argv("status", "--wait", "60"),
        env=site.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "cpu: 1 wanted, 0 launching, 0 launched\n"
    site.instance("cpu-1", time.time())
    out, _progress = process.communicate(timeout=60)
    assert process.returncode == 0
    assert re.search(r"^cpu +2000 +0 +0 +1 ", out, re.MULTILINE)


def test_status_waits_no_longer_than_it_is_told(site: Site, capsys: Any) -> None:
    site.journal.want([("cpu-1", "cpu", "7", False)])
    assert site.run("status", "--wait", "0.1") == 0
    assert re.search(r"^cpu +2000 +1 ", capsys.readouterr().out, re.MULTILINE)


def test_plan_tells_the_pool_the_calls_the_price_and_what_is_avoided(site: Site, capsys: Any) -> None:
    first = site.cluster.config.groups[0].places[0].subnets[0]
    scope = f"capacity|one|eu-central-1|{first}|c5.4xlarge|on-demand"
    site.journal.cool(scope, Kind.CAPACITY, "capacity: none left", 60, 600)
    assert site.run("plan", "cpu-[1-1000]") == 0
    said = capsys.readouterr().out
    second = site.cluster.config.groups[0].places[0].subnets[1]
    assert re.search(rf"^cpu +- +one/eu-central-1/{first} c5\.4xlarge .*capacity: none left$", said, re.MULTILINE)
    assert re.search(
        rf"^cpu +cpu-\[1-1000\] +one/eu-central-1/{second} c5\.4xlarge +2 +800\.00 +on-demand$", said, re.MULTILINE
    )
    assert site.wants() == {}
    assert site.run("plan", "gpu-1") == 1
    assert "no group of the configuration has the node gpu-1; it has cpu-[1-2000]." in capsys.readouterr().err


def test_plan_tells_of_limits(make_cluster: Callable[..., Cluster], tmp_path: Path, capsys: Any) -> None:
    site = Site(make_cluster("limited", group={"limits": {"vcpus": 40}}), tmp_path)
    assert site.run("plan", "cpu-[1-5]") == 0
    assert re.search(
        r"^cpu +cpu-\[1-2\] +\S+ c5.4xlarge .*\ncpu +cpu-\[3-4\] +\S+ c5.xlarge .*\n"
        r"cpu +cpu-5 +- .*limit: group cpu may have 40 vCPUs, and 0 are in use: no room for another c5.4xlarge$",
        capsys.readouterr().out,
        re.MULTILINE,
    )


def test_clear_takes_all_or_what_is_named(site: Site, capsys: Any) -> None:
    name = site.instance("cpu-1", time.time())
    pool = pool_of_row(site.journal.rows("SELECT * FROM instances WHERE id = ?", name)[0])
    for scope in ("a", "b", "c", pool):
        site.journal.cool(scope, Kind.DENIED, "denied: no", 0, 0)
    site.journal.failed_boot(pool)
    assert site.run("clear", "a", "unheard of") == 0
    assert capsys.readouterr().out == "cleared 1\n"
    assert site.run("clear") == 0
    assert site.journal.avoided() == {}
    assert site.journal.failed_boot(pool) == 1


# --- Costs -----------------------------------------------------------------------------------------------------------------


def priced(site: Site) -> None:
    """Two instances of one job over midnight, one of another job, and one of nobody's."""
    site.instance("cpu-1", at("2026-01-10 22:00"), at("2026-01-11 01:00"))
    site.instance("cpu-2", at("2026-01-10 23:30"), at("2026-01-10 23:45"))
    site.instance("cpu-3", at("2026-01-12 00:00"), at("2026-01-12 10:00"), job="8", price=0.5)
    site.instance("cpu-4", at("2026-01-12 12:00"), at("2026-01-12 12:30"), job="")
    site.journal.change("INSERT INTO jobs VALUES ('7', 'physics', 'alice'), ('8', 'chemistry', 'bob')")


def test_costs_are_cut_at_midnight_and_told_by_job_account_and_user(site: Site, capsys: Any) -> None:
    priced(site)
    assert site.run("costs", "--since", "2026-01-01", "--until", "2026-02-01", "--csv") == 0
    head, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
    assert head == ["day", "job", "account", "user", "aws_account", "group", "hours", "price"]
    assert rows == [
        ["2026-01-10", "7", "physics", "alice", "one", "cpu", "2.25", "1.8"],
        ["2026-01-11", "7", "physics", "alice", "one", "cpu", "1.0", "0.8"],
        ["2026-01-12", "", "", "", "one", "cpu", "0.5", "0.4"],
        ["2026-01-12", "8", "chemistry", "bob", "one", "cpu", "10.0", "5.0"],
    ]


def test_costs_for_people_have_a_total(site: Site, capsys: Any) -> None:
    priced(site)
    assert site.run("costs", "--since", "2026-01-01", "--until", "2026-02-01") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["DAY", "JOB", "ACCOUNT", "USER", "AWS", "ACCOUNT", "GROUP", "HOURS", "PRICE"]
    assert lines[-1].split() == ["total", "8.00"]
    assert len(lines) == 6


def test_costs_are_of_the_days_that_are_asked_for(site: Site, capsys: Any) -> None:
    priced(site)
    assert site.run("costs", "--since", "2026-01-11", "--until", "2026-01-12", "--csv") == 0
    _head, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
    assert rows == [["2026-01-11", "7", "physics", "alice", "one", "cpu", "1.0", "0.8"]]


def test_what_runs_still_costs_until_now(site: Site, capsys: Any) -> None:
    site.instance("cpu-1", time.time() - 7200)
    assert site.run("costs", "--csv") == 0
    _head, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
    assert sum(float(row[6]) for row in rows) == pytest.approx(2, abs=0.1)


def test_what_is_no_day_is_told(site: Site, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        site.run("costs", "--since", "yesterday")
    assert "argument --since: 'yesterday' is no day such as 2026-01-31" in capsys.readouterr().err


# --- Metrics ---------------------------------------------------------------------------------------------------------------

_SAMPLE = re.compile(r"([a-z_]+)(?:\{((?:[a-z]+=\"(?:[^\"\\\n]|\\[\\\"n])*\",?)+)\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)")


def samples(text: str) -> dict[str, float]:
    """Read Prometheus's text format as strictly as its parsers do: types before samples, each once, no sample twice."""
    assert text.endswith("\n")
    found: dict[str, float] = {}
    types: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            assert line.split(" ", 3)[3]
        elif line.startswith("# TYPE "):
            _hash, _type, name, kind = line.split(" ")
            assert name not in types
            assert kind in ("gauge", "counter")
            assert (kind == "counter") == name.endswith("_total")
            types[name] = kind
        else:
            match = _SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] in types, line
            assert list(types)[-1] == match[1], "samples of a metric stand together"
            key = line.rpartition(" ")[0]
            assert key not in found, line
            found[key] = float(match[3])
    return found


def test_metrics_are_prometheus_format_and_exact(site: Site) -> None:
    site.instance("cpu-1", time.time())
    site.journal.note("reconciled", 1780000123.25)
    site.journal.count("launched", "one|eu-central-1", 12345678)
    site.journal.count("refused", "one|eu-central-1|capacity", 3)
    site.journal.count("findings", "orphan", 1)
    site.journal.cool('pool|"odd"\\', Kind.BOOT, "boot: 3 in a row", 0, 0)
    write_metrics(site.cluster.config.model_copy(update={"metrics": site.metrics}), site.journal)
    found = samples(site.metrics.read_text(encoding="utf-8"))
    assert found["slurm_elastic_service_alive"] == 1
    assert found["slurm_elastic_reconciled_timestamp_seconds"] == 1780000123.25
    assert found['slurm_elastic_launched_total{account="one",region="eu-central-1"}'] == 12345678
    assert found['slurm_elastic_refused_total{account="one",region="eu-central-1",kind="capacity"}'] == 3
    assert found['slurm_elastic_findings_total{what="orphan"}'] == 1
    assert found['slurm_elastic_nodes{group="cpu",state="launched"}'] == 1
    assert found['slurm_elastic_hourly_price{group="cpu"}'] == 0.8
    assert found['slurm_elastic_pool_stopped{pool="pool|\\"odd\\"\\\\",kind="boot"}'] == 1
    assert site.metrics.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in site.folder.glob("elastic*")] == ["elastic.prom"]


def test_reconcile_as_a_process_says_what_it_finds_and_writes_metrics(site: Site) -> None:
    environment = {key: value for key, value in os.environ.items() if key.startswith("AWS_")}
    site.programs.tell(LINE.format(name=name, state="IDLE+CLOUD+POWERING_UP") for name in NODES[:2])
    done = site.process("reconcile", **environment)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"seen  untold: {name} powers up, and nobody was told here" for name in NODES[:2]
    ]
    site.journal.want((name, "cpu", "", False) for name in NODES[:2])
    assert site.process("reconcile", **environment).stdout == ""
    assert sorted(site.wants()) == ["cpu-1", "cpu-2"]
    assert samples(site.metrics.read_text(encoding="utf-8"))['slurm_elastic_nodes{group="cpu",state="wanted"}'] == 2
    site.programs.tell(LINE.format(name=name, state="IDLE+CLOUD+POWERED_DOWN") for name in NODES[:2])
    done = site.process("reconcile", "--dry-run", **environment)
    assert done.stdout.splitlines() == [
        f"seen  unwanted: {name} is off in Slurm, and wanted here" for name in NODES[:2]
    ]
    site.programs.broken.touch()
    before = site.journal.setting("reconciled")
    done = site.process("reconcile", **environment)
    assert done.returncode == 1
    assert done.stderr.endswith("slurm-elastic reconcile: no slurmctld answers (scontrol ping).\n")
    assert site.journal.setting("reconciled") == before


def test_metrics_that_cannot_be_written_are_told(site: Site, capsys: Any) -> None:
    site.metrics = site.folder / "none" / "elastic.prom"
    site.write()
    assert site.run("reconcile") == 1
    assert f"metrics: {site.metrics} cannot be written: No such file or directory." in capsys.readouterr().err


def test_host_lists_are_read_as_slurm_writes_them() -> None:
    assert expand("c[1-3,7],d-2,e[08-11]") == ["c1", "c2", "c3", "c7", "d-2", "e08", "e09", "e10", "e11"]
    assert expand("cpu-0042") == ["cpu-0042"]
    assert expand("") == []
