# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that compares the tables of parameters with Slurm's sources reads its arrays, and finds each difference."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "tests/tools/slurm_parameters.py"
GRES = """
static s_p_options_t _gres_options[] = {
    {"Count", S_P_STRING},    /* Number {"NoOption", S_P_STRING}, */
    {"CPUs" , S_P_STRING},
    {"Old", S_P_UINT16, _defunct_option},
    {"Name",  S_P_STRING},
    {NULL}
};
    static s_p_options_t _gres_conf_options[] = {
        {"Name",     S_P_ARRAY, _parse_gres_config,  NULL},
        {"NodeName", S_P_ARRAY, _parse_gres_config2,
         NULL},
        {NULL}
    };
static s_p_options_t other[] = { {"Other", S_P_STRING}, {NULL} };
"""
RING = """
    static s_p_options_t _ring_options[] = { { "Nodes", S_P_STRING },
                         { NULL } };
    static s_p_options_t ring_options[] = {
        { "RingName", S_P_ARRAY, _parse_ring, _destroy_ring }, { NULL }
    };
"""
STRING = {"type": "string"}


@pytest.fixture(scope="module")
def program() -> Any:
    spec = importlib.util.spec_from_file_location("slurm_parameters_tool", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_arrays_of_a_file_with_one_table_are_joined(program: Any) -> None:
    assert program.parsed({"src/interfaces/gres.c": GRES}, "gres.conf") == {
        "main": {
            "Count": STRING,
            "CPUs": STRING,
            "Old": {"type": "uint16", "defunct": True},
            "Name": STRING,
            "NodeName": {"type": "array"},
        }
    }


def test_lines_have_tables_of_their_own(program: Any) -> None:
    sources = {"src/plugins/topology/ring/ring_record.c": RING}
    assert program.parsed(sources, "topology.conf") == {"main": {}, "RingName": {"Nodes": STRING}}


def test_each_difference_is_found(program: Any) -> None:
    known = {"main": {"A": STRING, "B": STRING, "C": STRING}}
    found = {"main": {"A": STRING, "B": {"type": "array"}}, "Ring": {"Nodes": STRING}}
    assert list(program.differences(known, found)) == [
        "Ring: Nodes: None in the table, {'type': 'string'} in the sources",
        "main: B: {'type': 'string'} in the table, {'type': 'array'} in the sources",
        "main: C: {'type': 'string'} in the table, None in the sources",
    ]


def test_every_file_with_tables_is_compared(program: Any) -> None:
    assert set(program.SOURCES) == set(json.loads(program.TABLES.read_text(encoding="utf-8"))["files"])


def test_a_clone_without_the_sources_is_an_error(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, PROGRAM, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the branch slurm-22.05 has no parser of cgroup.conf" in done.stderr
