"""Who may do what: tokens, kept as digests, with a scope, clusters and an end."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Coroutine, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

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
log = logging.getLogger(__name__)
bearer = HTTPBearer(auto_error=False, description="A token made by hpcops-discovery token.")


class AccessError(Exception):
    """A token cannot be made or changed so."""


class Denied(Exception):  # noqa: N818  # an answer, as Problem is
    """A known caller asked for what the token does not allow."""

    def __init__(self, principal: Principal, reason: str, cluster: str | None = None) -> None:
        super().__init__(reason)
        self.principal = principal
        self.reason = reason
        self.cluster = cluster


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a token."""

    name: str
    scope: Scope
    clusters: frozenset[str] | None  # None: all
    expires: float | None = None

    def may(self, scope: Scope) -> bool:
        return scope in INCLUDES[self.scope]

    def sees(self, cluster: str | None) -> bool:
        return self.clusters is None or cluster in self.clusters

    def demand(self, cluster: str) -> None:
        if not self.sees(cluster):
            raise Denied(self, f"token '{self.name}' is not for cluster '{cluster}'", cluster)


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


def put_token(
    database: Database, name: str, token: str, scope: Scope, clusters: Collection[str] | None, expires: float | None
) -> bool:
    """Make the token of this name be so. Returns whether anything changed."""
    if not ACCEPTABLE.fullmatch(token):
        raise AccessError(f"token '{name}': 32 to 256 letters, digits or any of _.~+/=- are needed")
    wanted = {
        "digest": digest_of(token),
        "scope": scope,
        "clusters": json.dumps(sorted(clusters)) if clusters is not None else None,
        "revoked": False,
    }
    with database.write() as write:
        same = select(tokens.c.name).where(tokens.c.digest == wanted["digest"], tokens.c.name != name)
        other = write.connection.execute(same).scalar()
        if other is not None:
            raise AccessError(f"token '{name}' is the same as '{other}'; the log could not tell who did what")
        present = write.connection.execute(select(tokens).where(tokens.c.name == name)).mappings().first()
        # An end that is counted from now is another one in each run: only a wish for another duration changes it.
        same_end = present is not None and (present["expires"] is None) == (expires is None)
        if present is not None and same_end and all(present[key] == value for key, value in wanted.items()):
            return False
        if present is None:
            write.connection.execute(insert(tokens).values(name=name, created=now(), expires=expires, **wanted))
        else:
            write.connection.execute(update(tokens).where(tokens.c.name == name).values(expires=expires, **wanted))
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

    def exceeded_by(self, address: str) -> bool:
        """Count one more failure."""
        times = self._failures.setdefault(address, deque(maxlen=self._limit))
        self._failures.move_to_end(address)
        if len(self._failures) > self.ADDRESSES:
            self._failures.popitem(last=False)
        present = self._clock()
        exceeded = len(times) == self._limit and present - times[0] < 60
        if not exceeded:
            times.append(present)
        return exceeded


class Principals:
    """The holders of the tokens that were valid at one state of the data."""

    def __init__(self, state: State, rows: Iterable[Any]) -> None:
        self.version = state.access_version
        self._by_half: dict[str, list[tuple[str, Principal]]] = {}
        for row in rows:
            clusters = frozenset(json.loads(row.clusters)) if row.clusters is not None else None
            principal = Principal(row.name, row.scope, clusters, row.expires)
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

    def identify(self, token: str | None) -> tuple[State, Principal | None]:
        """The state of the data, and who has this token; both of the same moment."""
        state = self._database.state()
        if token is None:
            return state, None
        if self._known is None or self._known.version != state.access_version:
            with self._database.read() as connection:
                rows = connection.execute(select(tokens).where(tokens.c.revoked.is_(False))).all()
            self._known = Principals(state, rows)
        return state, self._known.holder(token)

    def recall(self, token: str) -> Recalled | None:
        """Who had this token when the database was last asked; to be believed only while the version is the same."""
        known = self._known
        principal = known.holder(token) if known is not None else None
        return Recalled(principal, known.version) if known is not None and principal is not None else None

    def unauthenticated(self, address: str, challenge: str = "Bearer") -> Problem:
        if self._limit.exceeded_by(address):
            return _too_many()
        log.warning("authentication failed", extra={"client": address})
        headers = {"WWW-Authenticate": f'{challenge} realm="hpcops-discovery"'}
        return Problem(401, "Send a token that is known, not revoked and not expired.", headers=headers)

    def denied(self, address: str, what: str, denied: Denied) -> Problem:
        """A 403, which the event log keeps."""
        if self._limit.exceeded_by(address):
            return _too_many()
        actor = denied.principal.name
        log.warning("denied: %s: %s", what, denied.reason, extra={"client": address, "principal": actor})
        event = {"actor": actor, "action": "denied", "key": what, "cluster": denied.cluster, "detail": denied.reason}
        try:
            with self._database.write() as write:
                write.connection.execute(insert(events).values(revision=write.before.revision, at=now(), **event))
        except SQLAlchemyError as error:  # a full disk makes nothing allowed
            log.error("the event log could not be written: %s", error)
        return Problem(403, denied.reason)


def _too_many() -> Problem:
    return Problem(
        429, "Too many requests from this address were refused; wait a minute.", headers={"Retry-After": "60"}
    )


def client_of(request: Request) -> str:
    return request.client.host if request.client else "local"


def requires(scope: Scope) -> Callable[..., Coroutine[Any, Any, Caller]]:
    """A dependency: the caller, whose token must have the scope."""

    async def caller(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
    ) -> Caller:
        access: Access = request.app.state.site.access
        state, principal = await run_in_threadpool(access.identify, credentials.credentials if credentials else None)
        if principal is None:
            raise access.unauthenticated(client_of(request))
        request.state.principal = principal.name
        if not principal.may(scope):
            raise Denied(principal, f"token '{principal.name}' has the scope {principal.scope}; this needs {scope}")
        return Caller(principal, state)

    return caller


Heartbeater = Annotated[Caller, Depends(requires("heartbeat"))]
Reader = Annotated[Caller, Depends(requires("read"))]
Writer = Annotated[Caller, Depends(requires("write"))]
Admin = Annotated[Caller, Depends(requires("admin"))]
