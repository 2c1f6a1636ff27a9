"""What operators may say on the command line."""

import argparse
from datetime import UTC, date, datetime
from typing import TypeAlias

from app.documents.indexes import FROM_CHUNKS, MOST_TENANTS
from app.schemas.usage import MAX_LIMIT

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no other name


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m app.cli", description="For operators.")
    commands = parser.add_subparsers(dest="command", required=True)
    for add in (_add_access, _add_upkeep, _add_moving, _add_proofs):
        add(commands)
    return parser.parse_args(arguments)


def _add_access(commands: Commands) -> None:
    create = commands.add_parser("create-admin", help="create an admin, in a tenant that exists or in a new one")
    create.add_argument("--email", required=True)
    tenant = create.add_mutually_exclusive_group(required=True)
    tenant.add_argument("--tenant-id", help="the id of a tenant that exists")
    tenant.add_argument("--new-tenant", metavar="NAME", help="the name of a tenant to create")
    create.add_argument("--region", help="where the new tenant lives (default: the first of DATABASE_SHARDS)")
    create.add_argument("--password-stdin", action="store_true", help="read the password's one line from stdin")
    password = commands.add_parser("set-password", help="give a user another password, and end its sessions and keys")
    password.add_argument("--email", required=True)
    password.add_argument("--keep-api-keys", action="store_true", help="its keys go on")
    password.add_argument("--password-stdin", action="store_true", help="read the password's one line from stdin")
    ceiling = commands.add_parser("set-ceiling", help="bound what a tenant spends in a month, whatever its admins say")
    ceiling.add_argument("--tenant-id", required=True)
    amount = ceiling.add_mutually_exclusive_group(required=True)
    amount.add_argument("--micro-usd", type=_micro_usd, help="0: it sends nothing that costs")
    amount.add_argument("--default", action="store_true", help="what TENANT_BUDGET_CEILING_MICRO_USD gives to all")
    end = commands.add_parser("end-all-sessions", help="log everybody out, as after a leak of SECRET_KEY")
    end.add_argument("--api-keys", action="store_true", help="revoke all API keys as well")


def _add_upkeep(commands: Commands) -> None:
    commands.add_parser("fill-directory", help="list the tenants of all regions in the directory; may be repeated")
    commands.add_parser("encrypt-text", help="encrypt what was stored before ENCRYPT_TEXT was set; may be repeated")
    commands.add_parser("rotate-master-key", help="wrap all tenants' data keys under MASTER_KEY; may be repeated")
    erased = commands.add_parser("erased-tenants", help="a line of JSON for each tenant that was erased, to be kept")
    always = datetime(1, 1, 1, tzinfo=UTC)
    erased.add_argument("--since", type=_moment, default=always, help="2026-11-26, or with a time")
    replay = commands.add_parser("replay-erasures", help="after a restore: erase again what the record names")
    replay.add_argument("record", help="the file: such lines, or the service's log; - is stdin")
    index = commands.add_parser(
        "index-documents", help="let the largest tenants have indexes of their own; to be repeated"
    )
    index.add_argument(
        "--from", type=_count, default=FROM_CHUNKS, dest="least", metavar="CHUNKS", help="(default: %(default)s)"
    )
    index.add_argument("--most", type=_count, default=MOST_TENANTS, metavar="TENANTS", help="(default: %(default)s)")


def _add_moving(commands: Commands) -> None:
    leave = commands.add_parser("export-tenant", help="write all of a tenant, digests too, for import-tenant")
    leave.add_argument("tenant_id", metavar="TENANT")
    leave.add_argument("file", metavar="FILE", help="is made, for its owner's eyes alone")
    arrive = commands.add_parser("import-tenant", help="take a tenant in from an export; may be repeated")
    arrive.add_argument("file", metavar="FILE", help="of export-tenant, or of GET /tenants/{id}/export")
    arrive.add_argument("--region", help="where it is to live (default: the first of DATABASE_SHARDS)")
    arrive.add_argument("--after-erasure", action="store_true", help="also a tenant that was erased here")
    move = commands.add_parser("move-tenant", help="move a tenant to another region; may be repeated")
    move.add_argument("tenant_id", metavar="TENANT")
    move.add_argument("region", metavar="REGION")
    move.add_argument("--window", type=float, default=60.0, metavar="SECONDS", help="how long it may only be read")


def _add_proofs(commands: Commands) -> None:
    verify = commands.add_parser("verify-retention", help="look for what a tenant said that keeps nothing")
    verify.add_argument("--url", required=True, help="of the service; its models are asked, and billed")
    verify.add_argument("--log", action="append", default=[], metavar="FILE", help="which the service writes to")
    isolation = commands.add_parser(
        "verify-isolation",
        help="try to reach one throwaway tenant from another, by every operation, as every caller",
    )
    isolation.add_argument(
        "--url", help="of the service, as its callers reach it (default: the installed code, served in this process)"
    )
    isolation.add_argument("--model", default="", help="what answers the few short messages, which are billed")
    isolation.add_argument("--report", metavar="DIR", help="write isolation.json and isolation.html there")
    bill = commands.add_parser("reconcile", help="a provider's own count against the ledger, by day and model")
    bill.add_argument("--provider-usage", required=True, action="append", metavar="FILE", help="may be repeated")
    bill.add_argument("--tenant", action="append", default=[], metavar="ID", help="of it alone (default: of all)")
    bill.add_argument("--except-tenant", action="append", default=[], metavar="ID", help="which has a bill of its own")
    bill.add_argument("--since", type=_day, metavar="DAY", help="in UTC (default: the first on the bill)")
    bill.add_argument("--until", type=_day, metavar="DAY", help="the last one (default: the last on the bill)")


def _micro_usd(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > MAX_LIMIT:
        raise argparse.ArgumentTypeError(f"a whole number from 0 to {MAX_LIMIT}")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 10**9:
        raise argparse.ArgumentTypeError("a whole number from 1 on")
    return int(text)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("a day, as 2026-11-26") from None


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("a date, or a date and time, as ISO 8601 has it") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
