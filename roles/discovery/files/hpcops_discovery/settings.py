"""What the operator decides, read from one TOML file."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

VARIABLE = "HPCOPS_DISCOVERY_CONFIG"
DEFAULT_FILE = Path("/etc/hpcops-discovery/config.toml")


class SettingsError(Exception):
    """The configuration cannot be used; the message says why."""


class Settings(BaseModel):
    """The configuration file's keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database_url: str = "sqlite:////var/lib/hpcops-discovery/discovery.db"
    listen_address: str = "127.0.0.1"
    listen_port: Annotated[int, Field(ge=0, le=65535)] = 8420
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    # Certificates that the checks of https services trust, besides the system's.
    check_ca_file: Path | None = None
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    # Seconds that requests get to end when a process is told to stop.
    drain_seconds: Annotated[int, Field(ge=1, le=600)] = 20
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    max_body_bytes: Annotated[int, Field(ge=1024)] = 64 << 20
    # Failures of authentication or authorisation that one address may make in a minute.
    failures_per_minute: Annotated[int, Field(ge=1)] = 30
    # Whether the status page is shown to everybody, or asks for a token as the password.
    status_public: bool = False
    health_checks: bool = True


def load(path: Path | None = None) -> Settings:
    """Read the file that is given, that the environment names, or the usual one."""
    source = path or Path(os.environ.get(VARIABLE) or DEFAULT_FILE)
    try:
        return Settings.model_validate(tomllib.loads(source.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{source}: cannot be read: {error}") from error
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise SettingsError(f"{source}: {found}") from error
