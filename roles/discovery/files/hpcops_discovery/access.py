"""Who may do what: tokens, kept as digests, with a scope, clusters and an end."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Coroutine, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from .clock import now
from .database import Database, State
from .problems import Problem
from .shapes import Scope
from .tables import events, tokens

PREFIX = "hpcd_"
# What a token of the operator's own must look like: as hard to guess as ours.
ACCEPTABLE = re.compile(r"[A-Za-z0-9_.~+/=-]{32,256}")
INCLUDES: dict[Scope, frozenset[Scope]] = {
    "heartbeat": frozenset({"heartbeat"}),
    "read": frozenset({"read"}),
    "write": frozenset({"heartbeat", "read", "write"}),
    "admin": frozenset({"heartbeat", "read", "write", "admin"}),
}
# Digits of a digest by which a token is found, before all of it is compared.
HALF = 32
# How much of a request that was denied is kept.
DENIED_TEXT = 200
log = logging.getLogger(__name__)
bearer = HTTPBearer(auto_error=False, description="A token made by hpcops-discovery token.")


class AccessError(Exception):
    """A token cannot be made or changed so."""


class Denied(Exception):  # noqa: N818  # an answer, as Problem is
    """A known caller asked for what the token does not allow. The event log keeps the reason.

    The answer, where there is one, is that to something that does not exist: the caller must not learn that it does.
    """

    def __init__(
        self, principal: Principal, reason: str, cluster: str | None = None, answer: Problem | None = None
    ) -> None:
        super().__init__(reason)
        self.principal = principal
        self.reason = reason
        self.cluster = cluster
        self.answer = answer

    @classmethod
    def of_scope(cls, principal: Principal, needed: Scope) -> Denied:
        return cls(principal, f"token '{principal.name}' has the scope {principal.scope}; this needs {needed}")


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a token."""

    name: str
    scope: Scope
    clusters: frozenset[str] | None  # None: all
    expires: float | None = None
    hosts: frozenset[str] | None = None  # whose heartbeats it sends; None: all

    def may(self, scope: Scope) -> bool:
        return scope in INCLUDES[self.scope]

    def sees(self, cluster: str | None) -> bool:
        return self.clusters is None or cluster in self.clusters

    def demand(self, cluster: str, otherwise: Problem | None = None) -> None:
        """Refuse a cluster that the token is not for; otherwise is the answer where the caller did not name it."""
        if not self.sees(cluster):
            raise Denied(self, f"token '{self.name}' is not for cluster '{cluster}'", cluster, otherwise)


@dataclass(frozen=True, slots=True)
class Caller:
    """A request's principal, and the state of the data when it began."""

    principal: Principal
    state: State

    def etag(self, *, health: bool = False) -> str:
        """Changes with whatever the answer is made from. Weak: compressed or not is the same."""
        parts = [self.state.epoch, str(self.state.revision)]
        if health:
            parts.append(str(self.state.health_revision))
        if self.principal.clusters is not None:
            names = ",".join(sorted(self.principal.clusters))
            parts.append(hashlib.sha256(names.encode()).hexdigest()[:8])
        return f'W/"{".".join(parts)}"'


@dataclass(frozen=True, slots=True)
class Recalled:
    """A principal that was known without asking the database, and the version of all tokens at which that was so."""

    principal: Principal
    version: tuple[str, int]


# --- Tokens --------------------------------------------------------------------------------------------------------


def digest_of(token: str) -> str:
    """Tokens are long and random: a plain digest cannot be turned back."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token() -> str:
    return PREFIX + secrets.token_urlsafe(32)


class End(NamedTuple):
    """When a token ends, in seconds since 1970, and whether that was counted from now, as another one in each run."""

    at: float
    counted: bool = False


def put_token(
    database: Database,
    name: str,
    token: str,
    scope: Scope,
    clusters: Collection[str] | None,
    end: End | None,
    hosts: Collection[str] | None = None,
) -> bool:
    """Make the token of this name be so. Returns whether anything changed."""
    if hosts is not None and scope != "heartbeat":
        raise AccessError(f"token '{name}': hosts limit the scope heartbeat only, not {scope}")
    if not ACCEPTABLE.fullmatch(token):
        raise AccessError(f"token '{name}': 32 to 256 letters, digits or any of _.~+/=- are needed")
    wanted = {
        "digest": digest_of(token),
        "scope": scope,
        "clusters": json.dumps(sorted(clusters)) if clusters is not None else None,
        "hosts": json.dumps(sorted(hosts)) if hosts is not None else None,
        "expires": end.at if end is not None else None,
        "revoked": False,
    }
    with database.write() as write:
        same = select(tokens.c.name).where(tokens.c.digest == wanted["digest"], tokens.c.name != name)
        other = write.connection.execute(same).scalar()
        if other is not None:
            raise AccessError(f"token '{name}' is the same as '{other}'; the log could not tell who did what")
        present = write.connection.execute(select(tokens).where(tokens.c.name == name)).mappings().first()
        lives = present is not None and present["digest"] == wanted["digest"] and not present["revoked"]
        if end is not None and end.counted and present is not None and lives and present["expires"] is not None:
            # A duration begins with the token, or with its return: later runs bring the end forward, never back.
            wanted["expires"] = min(end.at, present["expires"])
        if present is not None and all(present[key] == value for key, value in wanted.items()):
            return False
        if present is None:
            write.connection.execute(insert(tokens).values(name=name, created=now(), **wanted))
        else:
            write.connection.execute(update(tokens).where(tokens.c.name == name).values(**wanted))
        write.access_changed()
    return True


def revoke_token(database: Database, name: str) -> bool:
    """Returns whether the token was valid before."""
    with database.write() as write:
        found = write.connection.execute(select(tokens.c.revoked).where(tokens.c.name == name)).first()
        if found is None:
            raise AccessError(f"there is no token '{name}'")
        if found.revoked:
            return False
        write.connection.execute(update(tokens).where(tokens.c.name == name).values(revoked=True))
        write.access_changed()
    return True


# --- Requests ------------------------------------------------------------------------------------------------------


class FailureLimit:
    """Counts failures per address within a minute. Remembers so many addresses, the latest ones."""

    ADDRESSES = 10_000

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = per_minute
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def reached_by(self, address: str) -> bool:
        times = self._failures.get(address)
        return times is not None and len(times) == self._limit and self._clock() - times[0] < 60

    def exceeded_by(self, address: str) -> bool:
        """Count one more failure."""
        with self._lock:
            exceeded = self.reached_by(address)
            times = self._failures.setdefault(address, deque(maxlen=self._limit))
            self._failures.move_to_end(address)
            if len(self._failures) > self.ADDRESSES:
                self._failures.popitem(last=False)
            if not exceeded:
                times.append(self._clock())
            return exceeded


class Principals:
    """The holders of the tokens that were valid at one state of the data."""

    def __init__(self, state: State, rows: Iterable[Any]) -> None:
        self.version = state.access_version
        self._by_half: dict[str, list[tuple[str, Principal]]] = {}
        for row in rows:
            clusters, hosts = (frozenset(json.loads(names)) if names else None for names in (row.clusters, row.hosts))
            principal = Principal(row.name, row.scope, clusters, row.expires, hosts)
            self._by_half.setdefault(row.digest[:HALF], []).append((row.digest, principal))

    def holder(self, token: str) -> Principal | None:
        """Who has the token. How long that takes tells neither how many there are nor how much of a wrong one was right."""
        wanted = digest_of(token)
        for digest, principal in self._by_half.get(wanted[:HALF], ()):
            if hmac.compare_digest(digest, wanted):
                return None if principal.expires is not None and principal.expires <= time.time() else principal
        return None


class Access:
    """Knows the valid tokens, and learns at once when they change."""

    def __init__(self, database: Database, failures_per_minute: int) -> None:
        self._database = database
        self._limit = FailureLimit(failures_per_minute)
        self._known: Principals | None = None

    def identify(self, token: str | None, address: str, challenge: str = "Bearer") -> tuple[State, Principal]:
        """The state of the data, and who has this token; both of the same moment."""
        # An address that has failed too often costs no query, unless its token was good when the database was last asked.
        if token is None or (self._limit.reached_by(address) and self.recall(token) is None):
            raise self._unauthenticated(address, challenge)
        state = self._database.state()
        known = self._known
        if known is None or known.version != state.access_version:
            with self._database.read() as connection:
                rows = connection.execute(select(tokens).where(tokens.c.revoked.is_(False))).all()
            known = self._known = Principals(state, rows)
        principal = known.holder(token)
        if principal is None:
            raise self._unauthenticated(address, challenge)
        return state, principal

    def recall(self, token: str) -> Recalled | None:
        """Who had this token when the database was last asked; to be believed only while the version is the same."""
        known = self._known
        principal = known.holder(token) if known is not None else None
        return Recalled(principal, known.version) if known is not None and principal is not None else None

    def _unauthenticated(self, address: str, challenge: str) -> Problem:
        if self._limit.exceeded_by(address):
            return _too_many()
        log.warning("authentication failed", extra={"client": address})
        headers = {"WWW-Authenticate": f'{challenge} realm="hpcops-discovery"'}
        return Problem(401, "Send a token that is known, not revoked and not expired.", headers=headers)

    def denied(self, address: str, what: str, denied: Denied) -> Problem:
        """The answer, a 403 unless it must not tell, which the event log keeps."""
        what = what[:DENIED_TEXT]
        if self._limit.exceeded_by(address):
            return denied.answer or _too_many()
        actor = denied.principal.name
        log.warning("denied: %s: %s", what, denied.reason, extra={"client": address, "principal": actor})
        event = {"actor": actor, "action": "denied", "key": what, "cluster": denied.cluster, "detail": denied.reason}
        try:
            with self._database.write() as write:
                write.connection.execute(insert(events).values(revision=write.before.revision, at=now(), **event))
        except SQLAlchemyError as error:  # a full disk makes nothing allowed
            log.error("the event log could not be written: %s", error)
        return denied.answer or Problem(403, denied.reason)


def _too_many() -> Problem:
    return Problem(
        429, "Too many requests from this address were refused; wait a minute.", headers={"Retry-After": "60"}
    )


def client_of(request: Request) -> str:
    return request.client.host if request.client else "local"


def bearer_of(request: Request) -> str | None:
    scheme, _blank, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else None


def requires(scope: Scope) -> Callable[..., Coroutine[Any, Any, Caller]]:
    """A dependency: the caller, whose token must have the scope."""

    async def caller(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
    ) -> Caller:
        access: Access = request.app.state.site.access
        token = credentials.credentials if credentials else None
        state, principal = await run_in_threadpool(access.identify, token, client_of(request))
        request.state.principal = principal.name
        if not principal.may(scope):
            raise Denied.of_scope(principal, scope)
        return Caller(principal, state)

    return caller


Heartbeater = Annotated[Caller, Depends(requires("heartbeat"))]
Reader = Annotated[Caller, Depends(requires("read"))]
Writer = Annotated[Caller, Depends(requires("write"))]
Admin = Annotated[Caller, Depends(requires("admin"))]
