"""Attempts at deliveries that never ended, and why a delivery is given up."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns."""
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.add_column(sa.Column("begun", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("ending", sa.Text(), server_default="", nullable=False))
