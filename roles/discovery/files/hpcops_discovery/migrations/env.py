"""Alembic's entry: migrations run on the connection that the caller made, in its transaction."""

from __future__ import annotations

from alembic import context

from hpcops_discovery.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # the caller commits
    render_as_batch=True,
)
context.run_migrations()
