"""The database's tables. An object's whole description is one JSON text; what it is found by has columns and terms."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)
# Pages go on after a key: both databases must order keys alike.
Key = String().with_variant(String(collation="C"), "postgresql")
Counter = BigInteger().with_variant(Integer, "sqlite")


# One row. Every write locks it, so that revisions become visible in their order.
state = Table(
    "site_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    # Another one after a restore: revisions of different histories must not be taken for each other.
    Column("epoch", String, nullable=False),
    Column("revision", Counter, nullable=False),
    Column("health_revision", Counter, nullable=False),
    Column("access_revision", Counter, nullable=False),
)

clusters = Table(
    "clusters",
    metadata,
    Column("name", Key, primary_key=True),
    Column("spec", Text, nullable=False),
    Column("revision", Counter, nullable=False),
    Column("updated", String, nullable=False),
)

hosts = Table(
    "hosts",
    metadata,
    Column("name", Key, primary_key=True),
    Column("cluster", Key, ForeignKey("clusters.name"), nullable=False),
    Column("state", Key, nullable=False),
    Column("address", String),
    Column("rack", Key),
    Column("switch", Key),
    Column("provider", Key),
    Column("instance_id", Key),
    Column("spec", Text, nullable=False),
    Column("revision", Counter, nullable=False),
    Column("updated", String, nullable=False),
    Index(None, "cluster", "name"),
    Index(None, "state", "name"),
    Index(None, "rack", "name"),
    Index(None, "switch", "name"),
    Index(None, "instance_id", "provider", unique=True),
    Index(None, "revision"),
)

services = Table(
    "services",
    metadata,
    Column("cluster", Key, ForeignKey("clusters.name")),
    Column("name", Key),
    Column("host", Key, ForeignKey("hosts.name"), nullable=False),
    Column("spec", Text, nullable=False),
    Column("revision", Counter, nullable=False),
    Column("updated", String, nullable=False),
    PrimaryKeyConstraint("cluster", "name", "host"),
    Index(None, "name"),
    Index(None, "host"),
)

# What the checks found. Apart, since health changes more often than descriptions and is nobody's write.
health = Table(
    "health",
    metadata,
    Column("cluster", Key),
    Column("name", Key),
    Column("host", Key),
    Column("status", Key, nullable=False),
    Column("streak", Integer, nullable=False),
    Column("since", String, nullable=False),
    Column("output", Text, nullable=False),
    PrimaryKeyConstraint("cluster", "name", "host"),
    ForeignKeyConstraint(
        ["cluster", "name", "host"], ["services.cluster", "services.name", "services.host"], ondelete="CASCADE"
    ),
    Index(None, "status"),
)

# Roles, partitions, features and labels of hosts, labels of services: (kind, name, value) of an owner.
terms = Table(
    "terms",
    metadata,
    Column("kind", Key),
    Column("name", Key),
    Column("value", Key),
    Column("owner", Key),
    PrimaryKeyConstraint("kind", "name", "value", "owner"),
    Index(None, "owner"),
    sqlite_with_rowid=False,
)

heartbeats = Table(
    "heartbeats",
    metadata,
    Column("host", Key, ForeignKey("hosts.name")),
    Column("service", Key),  # empty: the host itself
    Column("seen", Float, nullable=False),
    Column("status", Key, nullable=False),
    PrimaryKeyConstraint("host", "service"),
)

events = Table(
    "events",
    metadata,
    Column("id", Counter, primary_key=True, autoincrement=True),
    Column("revision", Counter, nullable=False),
    Column("at", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", Key, nullable=False),
    Column("kind", Key),
    Column("key", Key, nullable=False),
    Column("cluster", Key),
    Column("before", Text),
    Column("after", Text),
    Column("detail", Text, nullable=False, server_default=""),
    Index(None, "revision"),
    Index(None, "kind", "key"),
    sqlite_autoincrement=True,
)

tokens = Table(
    "tokens",
    metadata,
    Column("name", Key, primary_key=True),
    Column("digest", String, nullable=False, unique=True),
    Column("scope", Key, nullable=False),
    Column("clusters", Text),  # JSON list; none: all clusters
    Column("created", String, nullable=False),
    Column("expires", Float),
    Column("revoked", Boolean, nullable=False, default=False),
)

# Who does what only one process may do, and until when.
leases = Table(
    "leases",
    metadata,
    Column("name", Key, primary_key=True),
    Column("holder", String, nullable=False),
    Column("until", Float, nullable=False),
)
