"""The resources, as clients send and get them. The OpenAPI document and all validation come from here."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

_Value = TypeVar("_Value")

MAX_ITEMS: Final = 100_000
MAX_REVISION: Final = 2**53


# --- Values --------------------------------------------------------------------------------------------------------


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as error:
        raise PydanticCustomError("address", "is no IPv4 or IPv6 address") from error


def _plain_json(value: JsonValue) -> JsonValue:
    """JSON has no NaN and no infinities, and half a character cannot be stored."""
    stack: list[tuple[JsonValue, int]] = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if depth > 32:
            raise PydanticCustomError("too_deep", "is nested more than 32 levels deep")
        if isinstance(item, float) and not math.isfinite(item):
            raise PydanticCustomError("finite", "is no finite number")
        if isinstance(item, int) and abs(item) > MAX_REVISION:
            raise PydanticCustomError("too_large", "is beyond 2^53, where readers of JSON lose digits")
        if isinstance(item, str):
            _whole_text(item)
        elif isinstance(item, Mapping):
            stack.extend((inner, depth + 1) for inner in item.values())
            for key in item:
                _whole_text(key)
        elif isinstance(item, list):
            stack.extend((inner, depth + 1) for inner in item)
    return value


def _whole_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PydanticCustomError("text", "has half a character (a lone surrogate) in it") from error


def _distinct(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise PydanticCustomError("distinct", "names something twice")
    return values


def _sorted_keys(values: dict[str, _Value]) -> dict[str, _Value]:
    return dict(sorted(values.items()))


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$")]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+=-]{0,127}$")]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{0,256}$")]
LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$")]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Address = Annotated[str, Field(max_length=45, examples=["10.0.0.1"]), AfterValidator(_address)]
Gres = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,256}$")]
Path = Annotated[str, StringConstraints(pattern=r"^/[!-~]{0,1023}$")]
Natural = Annotated[int, Field(ge=0, le=2**53)]
Positive = Annotated[int, Field(ge=1, le=2**53)]
Port = Annotated[int, Field(ge=1, le=65535)]
Revision = Annotated[int, Field(ge=0, le=MAX_REVISION)]
Names = Annotated[list[Name], Field(max_length=1000), AfterValidator(_distinct)]
Words = Annotated[list[Word], Field(max_length=1000), AfterValidator(_distinct)]
Labels = Annotated[dict[LabelKey, Text], Field(max_length=100), AfterValidator(_sorted_keys)]
Json = Annotated[JsonValue, AfterValidator(_plain_json)]
Variables = Annotated[dict[VariableName, Json], Field(max_length=1000), AfterValidator(_sorted_keys)]
Parameters = Annotated[dict[Word, Json], Field(max_length=1000), AfterValidator(_sorted_keys)]

HostState = Literal["planned", "ready", "active", "maintenance", "retired"]
Health = Literal["unknown", "passing", "warning", "critical"]
Reported = Literal["passing", "warning", "critical"]
Scope = Literal["heartbeat", "read", "write", "admin"]
Kind = Literal["cluster", "host", "service"]
Action = Literal["created", "updated", "retired", "removed", "denied"]

HOST_STATES: Final[tuple[HostState, ...]] = get_args(HostState)
# From which state a host may go where. A retired host begins again as planned.
TRANSITIONS: Final[Mapping[HostState, frozenset[HostState]]] = {
    "planned": frozenset({"ready", "active", "retired"}),
    "ready": frozenset({"planned", "active", "maintenance", "retired"}),
    "active": frozenset({"ready", "maintenance", "retired"}),
    "maintenance": frozenset({"ready", "active", "retired"}),
    "retired": frozenset({"planned"}),
}


class Shape(BaseModel):
    """Nothing unknown, and no guessing of types."""

    model_config = ConfigDict(extra="forbid", strict=True)


# --- Clusters ------------------------------------------------------------------------------------------------------


class ClusterSpec(Shape):
    """A cluster: its Slurm settings become slurmctld_parameters, its variables those of its group."""

    description: Text = ""
    slurm: Parameters = Field(default={}, description="Slurm's parameters, as slurmctld_parameters takes them.")
    variables: Variables = {}


class ClusterWrite(ClusterSpec):
    revision: Revision | None = Field(None, description="Expected revision; 0: it must not exist yet.")


class Cluster(ClusterSpec):
    name: Name
    revision: Revision
    updated: datetime


# --- Hosts ---------------------------------------------------------------------------------------------------------


class SlurmNode(Shape):
    """What the host's line in slurm.conf is made from: each field is the host variable slurm_node_FIELD."""

    name: Name | None = None
    addr: Text | None = None
    hostname: Name | None = None
    port: Port | None = None
    cpus: Positive | None = None
    boards: Positive | None = None
    sockets: Positive | None = None
    sockets_per_board: Positive | None = None
    cores_per_socket: Positive | None = None
    threads_per_core: Positive | None = None
    real_memory: Positive | None = Field(None, description="MiB, as slurmd -C prints it.")
    mem_spec_limit: Natural | None = None
    tmp_disk: Natural | None = None
    weight: Natural | None = None
    core_spec_count: Natural | None = None
    features: Words | None = None
    gres: Annotated[list[Gres], Field(max_length=100)] | None = None
    state: Word | None = None
    parameters: Parameters | None = None


class HostSpec(Shape):
    """A host: what it is, where it stands, what it is for."""

    name: Name
    cluster: Name
    state: HostState | None = Field(None, description="Left out, it stays as it is; a new host is planned.")
    addresses: dict[VariableName, Address] = Field(
        default={}, max_length=32, description="By purpose. Ansible connects to the one called main."
    )
    roles: Names = []
    partitions: Names = []
    rack: Word | None = None
    switch: Word | None = None
    provider: Word | None = None
    instance_id: Word | None = None
    labels: Labels = {}
    slurm_node: SlurmNode = SlurmNode()
    variables: Variables = {}

    @model_validator(mode="after")
    def _one_place_for_each_value(self) -> HostSpec:
        for name in self.variables:
            if name.startswith("slurm_node_"):
                raise PydanticCustomError(
                    "misplaced", "variables: '{name}' belongs to slurm_node, without its prefix", {"name": name}
                )
        return self


class HostWrite(HostSpec):
    revision: Revision | None = Field(None, description="Expected revision; 0: it must not exist yet.")


class HostPatch(Shape):
    """What shall change; null takes a value away (RFC 7386)."""

    name: Name | None = Field(None, description="A host keeps its name: the one in the path.")
    cluster: Name | None = None
    state: HostState | None = None
    addresses: dict[VariableName, Address | None] | None = Field(None, max_length=32)
    roles: Names | None = None
    partitions: Names | None = None
    rack: Word | None = None
    switch: Word | None = None
    provider: Word | None = None
    instance_id: Word | None = None
    labels: dict[LabelKey, Text | None] | None = Field(None, max_length=100)
    slurm_node: SlurmNode | None = None
    variables: Variables | None = None
    revision: Revision | None = Field(None, description="Expected revision; 0: it must not exist yet.")


class NamedHostPatch(HostPatch):
    name: Name


class Host(HostSpec):
    state: HostState
    revision: Revision
    updated: datetime


# --- Services ------------------------------------------------------------------------------------------------------


class _Check(Shape, frozen=True):
    rise: int = Field(2, ge=1, le=100, description="Successes in a row after which a failed service passes again.")
    fall: int = Field(3, ge=1, le=100, description="Failures in a row after which it is critical; before: warning.")


class TcpCheck(_Check):
    """The server connects."""

    type: Literal["tcp"]
    interval: int = Field(15, ge=1, le=3600)
    timeout: int = Field(5, ge=1, le=60)


class HttpCheck(_Check):
    """The server asks, by the service's scheme, and wants an answer below 400."""

    type: Literal["http"]
    interval: int = Field(15, ge=1, le=3600)
    timeout: int = Field(5, ge=1, le=60)
    path: Path = "/"
    verify: bool = Field(True, description="Whether the certificate must be one that the server trusts.")


class HeartbeatCheck(_Check):
    """The host reports; it is critical when it has not for so many seconds."""

    type: Literal["heartbeat"]
    ttl: int = Field(90, ge=5, le=86400)


Check = Annotated[TcpCheck | HttpCheck | HeartbeatCheck, Field(discriminator="type")]


class ServiceSpec(Shape):
    """One endpoint of a service: the cluster it serves, its name and its host make its identity."""

    cluster: Name
    name: Name
    host: Name
    port: Port
    scheme: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9+.-]{0,31}$")] = "tcp"
    path: Path | None = None
    metrics_path: Path | None = Field(None, description="Where Prometheus scrapes; without it, it does not.")
    check: Check | None = None
    labels: Labels = {}


class ServiceWrite(ServiceSpec):
    revision: Revision | None = Field(None, description="Expected revision; 0: it must not exist yet.")


class ServiceHealth(Shape):
    status: Health
    since: datetime
    output: str


class Service(ServiceSpec):
    address: str | None = Field(None, description="The host's address called main.")
    health: ServiceHealth
    revision: Revision
    updated: datetime


# --- Bodies and answers --------------------------------------------------------------------------------------------


class HostsWrite(Shape):
    hosts: Annotated[list[HostWrite], Field(min_length=1, max_length=MAX_ITEMS)]


class HostsPatch(Shape):
    hosts: Annotated[list[NamedHostPatch], Field(min_length=1, max_length=MAX_ITEMS)]


class ServicesWrite(Shape):
    services: Annotated[list[ServiceWrite], Field(min_length=1, max_length=MAX_ITEMS)]


class Change(Shape):
    """What a write did, or would do, to one object; objects that stay as they are, are not listed."""

    index: int
    key: str
    action: Action
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class Outcome(Shape):
    """The result of a write. The revision is the site's after it."""

    revision: Revision
    dry_run: bool
    created: int
    updated: int
    retired: int
    removed: int
    unchanged: int
    changes: list[Change]


class ClusterPage(Shape):
    items: list[Cluster]
    revision: Revision


class HostPage(Shape):
    items: list[Host]
    next: str | None = Field(description="Give it as after to get the following page.")
    revision: Revision


class ServicePage(Shape):
    items: list[Service]
    next: str | None = Field(description="Give it as after to get the following page.")
    revision: Revision


class Event(Shape):
    """What somebody changed, or was refused."""

    id: int
    revision: Revision
    at: datetime
    actor: str
    action: Action
    kind: Kind | None
    key: str
    cluster: str | None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    detail: str = ""


class EventPage(Shape):
    items: list[Event]
    next: int | None = Field(description="Give it as after to get the following page.")
    revision: Revision


class News(Shape):
    """What a watcher gets: the revisions of now, and the events since the one it named."""

    revision: Revision
    health_revision: Revision
    reset: bool = Field(description="The history does not reach back to the named revision: read everything again.")
    more: bool = Field(description="There are more events than were sent; ask again from revision.")
    events: list[Event]


class Beat(Shape):
    """A host is alive, and so its services are."""

    host: Name
    services: dict[Name, Reported] = Field(default={}, max_length=100)


class Beats(Shape):
    beats: Annotated[list[Beat], Field(min_length=1, max_length=10_000)]


class Seen(Shape):
    host: str
    service: str = Field(description="Empty: the host itself.")
    seen: datetime
    status: Reported


class SeenPage(Shape):
    items: list[Seen]
    next: str | None = Field(description="Give it as after to get the following page.")
    revision: Revision


class InventoryHost(Shape):
    """A host for Ansible: what groups are made from, and its variables under the names that the roles use."""

    cluster: str
    state: HostState
    roles: list[str] = []
    partitions: list[str] = []
    labels: dict[str, str] = {}
    vars: dict[str, Any] = {}


class InventoryCluster(Shape):
    vars: dict[str, Any]


class Inventory(Shape):
    """The whole site. Empty lists and dicts of a host are left out."""

    revision: Revision
    clusters: dict[str, InventoryCluster]
    hosts: dict[str, InventoryHost]


class TargetGroup(Shape):
    """Prometheus' HTTP SD format."""

    targets: list[str]
    labels: dict[str, str]


class FieldError(Shape):
    """One fault of a request. In a bulk write the index says which object has it."""

    pointer: str = Field(description="JSON pointer into the body, or the parameter's name.")
    detail: str
    index: int | None = None
    key: str | None = None
    code: str
    current: dict[str, Any] | None = Field(None, description="The object as it is now, where a revision did not match.")


class ProblemDocument(Shape):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []
    current: dict[str, Any] | None = None
