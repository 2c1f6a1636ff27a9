"""What spends of a budget, or sets its limit, is looked at: from here on alerts are noted.

By itself: a transaction that changes `tenants` too would wait for those who spend, and they for it.

Revision ID: 0044
Revises: 0043
"""

from alembic import op

revision: str = "0044"
down_revision: str | None = "0043"
branch_labels = None
depends_on = None

# What holds, in rows old and new.
MOST = {"budgets": "LEAST({row}.limit_micro_usd, {row}.ceiling_micro_usd)", "period_budgets": "{row}.limit_micro_usd"}
# Below the half nobody looks any further.
NEAR = "{most} > 0 AND NEW.spent_micro_usd >= {most} / 2"


def upgrade() -> None:
    for table, most in MOST.items():
        new, old = most.format(row="NEW"), most.format(row="OLD")
        near = NEAR.format(most=new)
        changed = f"(OLD.period, OLD.spent_micro_usd, {old}) IS DISTINCT FROM (NEW.period, NEW.spent_micro_usd, {new})"
        for name, event, condition in (
            ("begins", "INSERT", near),
            ("changes", "UPDATE", f"{near} AND {changed}"),
        ):
            op.execute(
                f"CREATE TRIGGER budget_{name} AFTER {event} ON {table} FOR EACH ROW WHEN ({condition})"
                " EXECUTE FUNCTION note_budget_threshold()"
            )
        op.execute(
            f"CREATE TRIGGER budget_goes AFTER DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION forget_budget_alerts()"
        )


def downgrade() -> None:
    for table in MOST:
        for name in ("begins", "changes", "goes"):
            op.execute(f"DROP TRIGGER budget_{name} ON {table}")
