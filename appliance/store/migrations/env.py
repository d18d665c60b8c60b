"""Alembic asks this file how to connect: it is given the connection on which `store.migration` holds the lock."""

from alembic import context

from appliance.store.migration import check_references, keep_last_numbers, last_numbers
from appliance.store.schema import Base

connection = context.config.attributes["connection"]

context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    transactional_ddl=True,  # also in SQLite: a migration that is killed leaves the old schema
    render_as_batch=True,
)
with context.begin_transaction():
    given = last_numbers(connection)
    context.run_migrations()
    keep_last_numbers(connection, given)
    check_references(connection)
