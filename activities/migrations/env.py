"""How Alembic reaches the ledger: through the transaction that activities.schema gives it."""

from alembic import context
from sqlmodel import SQLModel

import models.tables  # noqa: F401 — importing it declares the tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    compare_type=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
