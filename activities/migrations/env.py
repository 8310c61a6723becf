"""How Alembic reaches the ledger."""

from alembic import context
from sqlalchemy import create_engine, pool
from sqlmodel import SQLModel

import models.tables  # noqa: F401 — importing it declares the tables

url = context.config.get_main_option("sqlalchemy.url")
assert url, "set sqlalchemy.url (activities.schema does)"

with create_engine(url, poolclass=pool.NullPool).connect() as connection:
    context.configure(connection=connection, target_metadata=SQLModel.metadata, render_as_batch=True, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()
