"""A new tenant's registration may be set; hashes of requests that hold a password are forgotten.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels = None
depends_on = None

# Made before hashes were keyed. Those of other requests tell nothing that does not stand in the row they made.
FORGET = """
DELETE FROM idempotency_keys k USING users u WHERE u.tenant_id = k.tenant_id AND u.id = k.resource_id
"""


def upgrade() -> None:
    op.execute("GRANT INSERT (registration) ON tenants TO llm_saas_app")
    # Forced, row-level security would hide the rows from a plain owner.
    for table in ("idempotency_keys", "users"):
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(FORGET)
    for table in ("idempotency_keys", "users"):
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    """Take the right back."""
    op.execute("REVOKE INSERT (registration) ON tenants FROM llm_saas_app")
