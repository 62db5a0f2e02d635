"""Tokens of single hosts, and heartbeats of registered services only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tokens", sa.Column("hosts", sa.Text()))
    op.execute(
        "DELETE FROM heartbeats WHERE service <> '' AND NOT EXISTS (SELECT 1 FROM services"
        " WHERE services.host = heartbeats.host AND services.name = heartbeats.service)"
    )
