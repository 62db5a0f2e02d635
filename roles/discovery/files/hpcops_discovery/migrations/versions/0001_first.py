"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "clusters",
        sa.Column("name", KEY, nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("revision", COUNTER, nullable=False),
        sa.Column("updated", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_clusters")),
    )
    op.create_table(
        "events",
        sa.Column("id", COUNTER, autoincrement=True, nullable=False),
        sa.Column("revision", COUNTER, nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", KEY, nullable=False),
        sa.Column("kind", KEY, nullable=True),
        sa.Column("key", KEY, nullable=False),
        sa.Column("cluster", KEY, nullable=True),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_events_kind_key"), "events", ["kind", "key"], unique=False)
    op.create_index(op.f("ix_events_revision"), "events", ["revision"], unique=False)
    op.create_table(
        "leases",
        sa.Column("name", KEY, nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "site_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.String(), nullable=False),
        sa.Column("revision", COUNTER, nullable=False),
        sa.Column("health_revision", COUNTER, nullable=False),
        sa.Column("access_revision", COUNTER, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site_state")),
    )
    op.create_table(
        "terms",
        sa.Column("kind", KEY, nullable=False),
        sa.Column("name", KEY, nullable=False),
        sa.Column("value", KEY, nullable=False),
        sa.Column("owner", KEY, nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", "value", "owner", name=op.f("pk_terms")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_terms_owner"), "terms", ["owner"], unique=False)
    op.create_table(
        "tokens",
        sa.Column("name", KEY, nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("scope", KEY, nullable=False),
        sa.Column("clusters", sa.Text(), nullable=True),
        sa.Column("created", sa.String(), nullable=False),
        sa.Column("expires", sa.Float(), nullable=True),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_tokens_digest")),
    )
    op.create_table(
        "hosts",
        sa.Column("name", KEY, nullable=False),
        sa.Column("cluster", KEY, nullable=False),
        sa.Column("state", KEY, nullable=False),
        sa.Column("address", sa.String(), nullable=True),
        sa.Column("rack", KEY, nullable=True),
        sa.Column("switch", KEY, nullable=True),
        sa.Column("provider", KEY, nullable=True),
        sa.Column("instance_id", KEY, nullable=True),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("revision", COUNTER, nullable=False),
        sa.Column("updated", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["cluster"], ["clusters.name"], name=op.f("fk_hosts_cluster")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_hosts")),
    )
    op.create_index(op.f("ix_hosts_cluster_name"), "hosts", ["cluster", "name"], unique=False)
    op.create_index(op.f("ix_hosts_instance_id_provider"), "hosts", ["instance_id", "provider"], unique=True)
    op.create_index(op.f("ix_hosts_rack_name"), "hosts", ["rack", "name"], unique=False)
    op.create_index(op.f("ix_hosts_revision"), "hosts", ["revision"], unique=False)
    op.create_index(op.f("ix_hosts_state_name"), "hosts", ["state", "name"], unique=False)
    op.create_index(op.f("ix_hosts_switch_name"), "hosts", ["switch", "name"], unique=False)
    op.create_table(
        "heartbeats",
        sa.Column("host", KEY, nullable=False),
        sa.Column("service", KEY, nullable=False),
        sa.Column("seen", sa.Float(), nullable=False),
        sa.Column("status", KEY, nullable=False),
        sa.ForeignKeyConstraint(["host"], ["hosts.name"], name=op.f("fk_heartbeats_host")),
        sa.PrimaryKeyConstraint("host", "service", name=op.f("pk_heartbeats")),
    )
    op.create_table(
        "services",
        sa.Column("cluster", KEY, nullable=False),
        sa.Column("name", KEY, nullable=False),
        sa.Column("host", KEY, nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("revision", COUNTER, nullable=False),
        sa.Column("updated", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["cluster"], ["clusters.name"], name=op.f("fk_services_cluster")),
        sa.ForeignKeyConstraint(["host"], ["hosts.name"], name=op.f("fk_services_host")),
        sa.PrimaryKeyConstraint("cluster", "name", "host", name=op.f("pk_services")),
    )
    op.create_index(op.f("ix_services_host"), "services", ["host"], unique=False)
    op.create_index(op.f("ix_services_name"), "services", ["name"], unique=False)
    op.create_table(
        "health",
        sa.Column("cluster", KEY, nullable=False),
        sa.Column("name", KEY, nullable=False),
        sa.Column("host", KEY, nullable=False),
        sa.Column("status", KEY, nullable=False),
        sa.Column("streak", sa.Integer(), nullable=False),
        sa.Column("since", sa.String(), nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster", "name", "host"],
            ["services.cluster", "services.name", "services.host"],
            name=op.f("fk_health_cluster_name_host"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("cluster", "name", "host", name=op.f("pk_health")),
    )
    op.create_index(op.f("ix_health_status"), "health", ["status"], unique=False)
    leases = sa.table("leases", sa.column("name"), sa.column("holder"), sa.column("until"))
    op.execute(leases.insert().values(name="health", holder="", until=0.0))
