"""Evidence has what was expected beside what was found, and nothing that differs from run to run."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.hpcops.cluster.plugins.filter.hardening_evidence import hardening_evidence

CONTROLS = [
    {"name": "nobody logs in by a password", "command": "sshd -T", "expect": " no$"},
    {"name": "sudo's rules can be read", "command": "visudo --check"},
]


def results(seconds: float) -> list[dict[str, Any]]:
    return [
        {"host": "another", "name": CONTROLS[0]["name"], "passed": False, "detail": "yes", "seconds": seconds},
        {"host": "another", "name": CONTROLS[1]["name"], "passed": True, "detail": "", "seconds": seconds},
    ]


def test_each_control_has_what_was_expected_and_found() -> None:
    first, second = hardening_evidence(results(0.1), "c1", CONTROLS)
    assert first == {
        "host": "c1",
        "control": "nobody logs in by a password",
        "command": "sshd -T",
        "expected": " no$",
        "actual": "yes",
        "passed": False,
    }
    assert second["expected"] == "the command succeeds"


def test_two_runs_that_found_the_same_give_the_same() -> None:
    assert hardening_evidence(results(0.1), "c1", CONTROLS) == hardening_evidence(results(7.0), "c1", CONTROLS)


def test_results_of_other_controls_are_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="the results are not those of the controls"):
        hardening_evidence(results(0.1), "c1", CONTROLS[:1])
