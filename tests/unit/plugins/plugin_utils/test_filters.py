# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What filters refuse, and how their errors reach the user."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._filters import as_list, as_mapping, raises_filter_errors


def test_error_of_a_filter_is_ansibles_and_keeps_its_cause() -> None:
    @raises_filter_errors
    def function(value: Any, *, fault: Exception | None = None) -> Any:
        """Documented."""
        if fault:
            raise fault
        return value

    assert (function(7), function.__doc__) == (7, "Documented.")
    cause = HpcopsError("it is wrong")
    with pytest.raises(AnsibleFilterError, match=r"^it is wrong") as failure:
        function(7, fault=cause)
    assert failure.value.__cause__ is cause
    with pytest.raises(ZeroDivisionError):
        function(7, fault=ZeroDivisionError())


@pytest.mark.parametrize("value", [[1, 2], (1, 2), {1, 2}, (number for number in (1, 2)), {1: 0, 2: 0}.keys()])
def test_whatever_can_be_gone_through_is_a_list(value: Any) -> None:
    assert as_list(value, "hosts") == [1, 2]


@pytest.mark.parametrize(
    ("value", "kind"), [("ab", "str"), (b"ab", "bytes"), ({"a": 1}, "dict"), (7, "int"), (None, "NoneType")]
)
def test_what_is_no_list_is_refused_by_its_kind(value: Any, kind: str) -> None:
    with pytest.raises(HpcopsError, match=f"^hosts must be a list, not {kind}$"):
        as_list(value, "hosts")


def test_mapping_has_texts_as_keys() -> None:
    assert as_mapping({"a": 1}, "labels") == {"a": 1}
    assert as_mapping({}, "labels") == {}
    with pytest.raises(HpcopsError, match=r"^labels has the key 8; keys are texts \(quote it in YAML\)$"):
        as_mapping({"a": 1, 8: 2, 9: 3}, "labels")
    with pytest.raises(HpcopsError, match=r"^labels must be a mapping, not list$"):
        as_mapping(["a"], "labels")
