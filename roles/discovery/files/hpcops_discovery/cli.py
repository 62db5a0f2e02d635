"""hpcops-discovery: what the administrator does on the server."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import httpx
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from . import settings
from .access import AccessError, new_token, put_token, revoke_token
from .backup import BackupError, restore_backup, write_backup
from .changes import prune_events
from .clock import at
from .database import Database, newest_schema
from .shapes import Scope
from .tables import tokens

UNITS = {"h": 3600, "d": 86400, "y": 365 * 86400}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.command == "openapi":
        from .openapi import document  # takes half a second that the other commands need not spend

        print(document(), end="")
        return 0
    try:
        wanted = settings.load(options.config)
        if options.command == "serve":
            from .server import serve  # the same

            serve(options.config, wanted)
            return 0
        if options.command == "ping":
            return _ping(wanted)
        database = Database(wanted.database_url)
        return int(COMMANDS[options.command](database, options))
    except (settings.SettingsError, AccessError, BackupError, OSError) as error:
        print(f"hpcops-discovery: {error}", file=sys.stderr)
    except SQLAlchemyError as error:
        print(f"hpcops-discovery: database: {getattr(error, 'orig', None) or error}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hpcops-discovery", description=__doc__)
    parser.add_argument("--config", type=Path, help=f"configuration file (default: {settings.DEFAULT_FILE})")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="run the API")
    commands.add_parser("ping", help="ask the service on this host whether it can serve")
    commands.add_parser("openapi", help="print the OpenAPI document")
    migrate = commands.add_parser("migrate", help="bring the database's schema up to this release's")
    migrate.add_argument(
        "--backup", type=Path, metavar="FOLDER", help="make a backup there first, if anything is to do"
    )
    migrate.add_argument("--check", action="store_true", help="only say whether anything is to do: exit status 2")
    backup = commands.add_parser("backup", help="write all data to a file")
    backup.add_argument("target", type=Path, help="a file, or a folder for a file that is named by the time")
    backup.add_argument("--keep", type=int, metavar="NUMBER", help="remove older backups of the folder")
    prune = commands.add_parser("prune", help="remove old events")
    prune.add_argument(
        "--events", type=duration, required=True, metavar="AGE", help="older than that, such as 1y or 400d"
    )
    restore = commands.add_parser("restore", help="read all data from a backup; stop the service first")
    restore.add_argument("file", type=Path)
    restore.add_argument("--force", action="store_true", help="replace the data that the database has")
    token = commands.add_parser("token", help="who may use the API").add_subparsers(dest="action", required=True)
    create = token.add_parser("create", help="make a token and print it; it is shown only once")
    put = token.add_parser("set", help="make the token that comes on standard input valid under this name")
    for parser_of in (create, put):
        parser_of.add_argument("name")
        parser_of.add_argument("--scope", choices=get_args(Scope), default="read")
        parser_of.add_argument(
            "--cluster", action="append", help="only for this cluster; may be repeated (default: all)"
        )
        parser_of.add_argument("--expires", type=expiry, help="such as 90d, 12h, 1y, or a date such as 2027-01-31")
    token.add_parser("list", help="list the tokens")
    revoke = token.add_parser("revoke", help="make a token invalid at once")
    revoke.add_argument("name")
    return parser


def duration(value: str) -> int:
    """Seconds."""
    match = re.fullmatch(r"(\d{1,5})([hdy])", value)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{value}' is no duration such as 90d")
    return int(match[1]) * UNITS[match[2]]


def expiry(value: str) -> float:
    """When a token ends, in seconds since 1970."""
    with contextlib.suppress(argparse.ArgumentTypeError):
        return time.time() + duration(value)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{value}' is neither a duration such as 90d nor a date") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _ping(wanted: settings.Settings) -> int:
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # what it listens on, not this
    address = everywhere.get(wanted.listen_address, wanted.listen_address)
    scheme = "https" if wanted.tls_certificate else "http"
    url = f"{scheme}://{f'[{address}]' if ':' in address else address}:{wanted.listen_port}/readyz"
    try:
        # The certificate is for the names that clients use, which this host need not know.
        answer = httpx.get(url, verify=False, timeout=10, trust_env=False)
    except httpx.HTTPError as error:
        print(f"hpcops-discovery: {url}: {error}", file=sys.stderr)
        return 1
    print(answer.text.strip())
    return 0 if answer.status_code == 200 else 1


def _migrate(database: Database, options: argparse.Namespace) -> int:
    present = database.schema()
    if present == newest_schema():
        print("unchanged")
        return 0
    if options.check:
        print(f"{present or 'an empty database'} needs {newest_schema()}")
        return 2
    if options.backup is not None and present is not None:
        options.backup.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = options.backup / f"before-{newest_schema()}-{time.strftime('%Y%m%dT%H%M%S')}.json.gz"
        write_backup(database, target)
        print(f"backup {target}")
    database.migrate()
    print(f"migrated {present or 'an empty database'} to {newest_schema()}")
    return 0


def _backup(database: Database, options: argparse.Namespace) -> int:
    folder: Path | None = options.target if options.target.is_dir() else None
    target = folder / f"daily-{time.strftime('%Y%m%dT%H%M%S')}.json.gz" if folder else options.target
    print(f"{write_backup(database, target)} rows in {target}")
    if folder is not None and options.keep:
        for old in sorted(folder.glob("daily-*.json.gz"))[: -options.keep]:
            old.unlink()
            print(f"removed {old}")
    return 0


def _prune(database: Database, options: argparse.Namespace) -> int:
    print(f"{prune_events(database, max(0.0, time.time() - options.events))} events removed")
    return 0


def _restore(database: Database, options: argparse.Namespace) -> int:
    print(f"{restore_backup(database, options.file, force=options.force)} rows restored")
    return 0


def _token(database: Database, options: argparse.Namespace) -> int:
    if options.action == "list":
        return _list_tokens(database)
    if options.action == "revoke":
        print("revoked" if revoke_token(database, options.name) else "unchanged")
        return 0
    made = new_token() if options.action == "create" else sys.stdin.readline().strip()
    if options.action == "create":
        with database.read() as connection:
            if connection.execute(select(tokens.c.name).where(tokens.c.name == options.name)).first():
                raise AccessError(f"there is a token '{options.name}' already; revoke it and choose another name")
    changed = put_token(database, options.name, made, options.scope, options.cluster, options.expires)
    print(made if options.action == "create" else "changed" if changed else "unchanged")
    return 0


def _list_tokens(database: Database) -> int:
    with database.read() as connection:
        rows = connection.execute(select(tokens).order_by(tokens.c.name)).all()
    for row in rows:
        expired = row.expires is not None and row.expires <= time.time()
        shown = {
            "name": row.name,
            "scope": row.scope,
            "clusters": json.loads(row.clusters) if row.clusters else "all",
            "created": row.created,
            "expires": at(row.expires) if row.expires else "never",
            "state": "revoked" if row.revoked else "expired" if expired else "valid",
        }
        print(json.dumps(shown))
    return 0


COMMANDS = {"migrate": _migrate, "backup": _backup, "prune": _prune, "restore": _restore, "token": _token}
