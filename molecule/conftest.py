"""A failing test shows the last lines of the journals of the services on the hosts; a measuring one tells its figure."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator

import pytest
from testinfra.utils.ansible_runner import AnsibleRunner

JOURNAL = "journalctl --no-pager --lines=50 --output=short-precise -u 'slurm*' -u sackd -u 'munge*' -u 'mariadb*' -u 'hpcops*'"
_shown: dict[str, str] = {}


def _journals() -> Generator[tuple[str, str]]:
    """Yield host and journal, where it has something new since the last failure."""
    folder = os.environ.get("MOLECULE_EPHEMERAL_DIRECTORY")
    if not folder:
        return
    runner = AnsibleRunner(f"{folder}/inventory")
    for name in runner.get_hosts("all"):
        try:
            answer = runner.get_host(name).run(JOURNAL)
            text = answer.stdout or answer.stderr
        except RuntimeError as error:  # the host does not answer: that is worth reading as well
            text = str(error)
        if _shown.get(name) != text:
            _shown[name] = text
            yield name, text


@pytest.fixture(name="report")
def report_fixture(capsys: pytest.CaptureFixture[str]) -> Callable[[str, float], None]:
    def report(what: str, seconds: float) -> None:
        with capsys.disabled():
            print(f"\n    {what}: {seconds:.{0 if seconds >= 10 else 1}f} s")

    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections.extend((f"journal of {name}", text) for name, text in _journals())
    return report
