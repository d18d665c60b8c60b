"""Alembic asks this file how to connect: it is given the connection on which `store.migration` holds the lock."""

from alembic import context

from appliance.store.migration import check_references
from appliance.store.schema import Base

connection = context.config.attributes["connection"]

context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    transactional_ddl=True,  # also in SQLite: a migration that is killed leaves the old schema
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
    check_references(connection)
