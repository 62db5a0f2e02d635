# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The site's authority signs what the inventory asks for, whatever a host requests."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ROOT = Path(__file__).resolve().parents[2]
NAMES: list[x509.GeneralName] = [x509.DNSName("n1"), x509.IPAddress(ipaddress.ip_address("fd00::1"))]
SIGNING_ONLY = {
    "digital_signature": True,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}


@dataclasses.dataclass(frozen=True)
class Request:
    """What a host requests; by default what n1 may have."""

    subject: tuple[tuple[x509.ObjectIdentifier, str], ...] = ((NameOID.COMMON_NAME, "n1"),)
    names: tuple[x509.GeneralName, ...] = tuple(NAMES)
    usages: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.SERVER_AUTH,)
    more: tuple[x509.ExtensionType, ...] = ()
    key_usage: tuple[tuple[str, bool], ...] = tuple(SIGNING_ONLY.items())

    def text(self) -> str:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([x509.NameAttribute(*pair) for pair in self.subject]))
            .add_extension(x509.SubjectAlternativeName(self.names), critical=False)
            .add_extension(x509.KeyUsage(**dict(self.key_usage)), critical=True)
            .add_extension(x509.ExtendedKeyUsage(self.usages), critical=False)
        )
        for extension in self.more:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


ALLOWED = Request()
HOSTILE = {
    "another name": Request(names=(x509.DNSName("api.example.org"),)),
    "another name beside its own": Request(names=(*NAMES, x509.DNSName("ctl"))),
    "another address": Request(names=(*NAMES, x509.IPAddress(ipaddress.ip_address("10.0.0.1")))),
    "another subject": Request(subject=((NameOID.COMMON_NAME, "ctl"),)),
    "an organization": Request(subject=((NameOID.COMMON_NAME, "n1"), (NameOID.ORGANIZATION_NAME, "admins"))),
    "a client": Request(usages=(ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)),
    "an authority": Request(more=(x509.BasicConstraints(ca=True, path_length=None),)),
    "a signer of certificates": Request(key_usage=tuple((SIGNING_ONLY | {"key_cert_sign": True}).items())),
    "an extension of its own": Request(more=(x509.TLSFeature([x509.TLSFeatureType.status_request]),)),
}


def authority(folder: Path) -> x509.Certificate:
    """Make the site's authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "site")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1000))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA384())
    )
    folder.mkdir()
    (folder / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "ca.key").write_bytes(key.private_bytes(*encoding))
    return certificate


@pytest.fixture(name="answers", scope="module")
def answers_fixture(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of each request: the certificate, or why there is none."""
    work = tmp_path_factory.mktemp("certificates")
    authority(work / "ca")
    requests = {"allowed": ALLOWED} | HOSTILE
    aliases = {name: f"case{number}" for number, name in enumerate(requests)}
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "os_base_ca_directory": str(work / "ca"),
        "os_base_certificate_directory": "/etc/example",
        "os_base_certificate_names": ["n1", "FD00:0::1"],
    }
    hosts = {
        alias: {"__os_base_certificate_request": {"csr": requests[name].text()}} for name, alias in aliases.items()
    }
    (work / "inventory.yml").write_text(json.dumps({"all": {"hosts": hosts, "vars": variables}}))
    signing = {"include_role": {"name": "hpcops.cluster.os_base", "tasks_from": "certificate_sign"}}
    noted = "{{ __os_base_certificate_signed.certificate | default(ansible_failed_result.msg | default('')) }}"
    note = {
        "copy": {"content": noted, "dest": f"{work}/{{{{ inventory_hostname }}}}", "mode": "0600"},
    }
    play = {"hosts": "all", "gather_facts": False, "tasks": [{"block": [signing, note], "rescue": [note]}]}
    (work / "playbook.yml").write_text(json.dumps([play]))
    run = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            *("-i", str(work / "inventory.yml"), str(work / "playbook.yml")),
        ],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "ANSIBLE_COLLECTIONS_PATH": f"{ROOT / '.ansible' / 'collections'}:{Path(sys.prefix)}",
            "ANSIBLE_HOME": str(work / "home"),
        },
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return {name: (work / alias).read_text() for name, alias in aliases.items()}


def test_certificate_has_what_the_inventory_asks_for(answers: dict[str, Any]) -> None:
    certificate = x509.load_pem_x509_certificate(answers["allowed"].encode())
    assert list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == NAMES
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [ExtendedKeyUsageOID.SERVER_AUTH]


@pytest.mark.parametrize("name", HOSTILE)
def test_request_for_anything_else_is_refused_and_names_the_host(answers: dict[str, Any], name: str) -> None:
    assert "BEGIN CERTIFICATE" not in answers[name]
    assert "asks for another certificate than that in /etc/example: it must be for DNS:n1" in answers[name]
