"""What Ansible's programs load at each start, for tests/support/forked.py.

Ansible reads its settings as it is loaded: each environment needs a process that has loaded this in it.
"""

# pylint: disable=unused-import

from __future__ import annotations

import atexit

# What the programs, and plugins that Ansible looks for by itself, import.
import ansible.cli.adhoc
import ansible.cli.config
import ansible.cli.inventory
import ansible.cli.playbook
import ansible.executor.playbook_executor
import ansible.playbook.block
import ansible.playbook.role
import ansible.plugins.callback
import ansible.plugins.inventory
import ansible.plugins.strategy
import ansible.template  # noqa: F401
import botocore.session
import jmespath
import requests
from ansible import constants
from ansible.config.manager import cleanup_tmp_file

botocore.session, jmespath, requests  # noqa: B018


def begin() -> None:
    """Make the temporary folder of this run, which its end removes; the one that was made as this was loaded is for all runs."""
    atexit.unregister(cleanup_tmp_file)
    constants.DEFAULT_LOCAL_TMP = constants.config.get_config_value("DEFAULT_LOCAL_TMP")
