# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lookups of the service-discovery API share."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import DiscoveryError, HpcopsError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_client import DiscoveryClient, read_token


class DiscoveryLookup(LookupBase):
    """Base of these lookups. What they return is plain data, which Ansible takes for no template."""

    client = DiscoveryClient

    def look_up(self, client: DiscoveryClient, names: list[str]) -> list[Any]:
        """Return what is asked for; the options are set."""
        raise NotImplementedError

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """Ask the API. Whatever goes wrong is an error."""
        try:
            unknown = sorted(kwargs.keys() - self.option_definitions.keys())
            if unknown:
                raise DiscoveryError(f"there is no option {', '.join(unknown)}")
            self.set_options(var_options=variables, direct=kwargs)
            names = self._flatten(terms)
            wrong = [name for name in names if not isinstance(name, str)]
            if wrong:
                raise DiscoveryError(f"names are texts, not {type(wrong[0]).__name__}")
            return self.look_up(self._client(), names)
        except HpcopsError as error:
            raise AnsibleLookupError(str(error)) from error

    def texts(self, option: str) -> list[str]:
        """Return the texts of an option that is a list."""
        return [str(value) for value in self.get_option(option)]

    def _client(self) -> DiscoveryClient:
        return self.client(
            self._text("url"),
            read_token(self._text("token"), self._text("token_file")),
            self._text("ca_file"),
            self.get_option("timeout"),
            self.get_option("retries"),
        )

    def _text(self, option: str) -> str:
        """Return an option's text; where it is that of a variable, it may be a template."""
        value = self.get_option(option)
        return "" if value is None else str(self._templar.template(value))
