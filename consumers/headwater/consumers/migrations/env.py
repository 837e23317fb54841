"""How Alembic runs here: inside the transaction that `migrations.upgrade` opened."""

from alembic import context

from headwater.consumers.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=False)
context.run_migrations()
