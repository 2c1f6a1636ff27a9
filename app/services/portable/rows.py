"""What becomes of a row on its way from one deployment to another, and what no row of ours would say."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import ValidationError

from app.core.credentials.emails import InvalidEmailError, normalise_email
from app.core.credentials.envelope import DataKey, MasterKeys, Unopenable, WrappedKey
from app.core.ids import new_id
from app.core.principal import Role, Scope
from app.core.settings.models import Rates
from app.llm.pricing import TOKENS_PER_PRICE
from app.services.export_end import Form
from app.services.portable.refusal import Wrong
from app.services.provider_credentials import purpose_of

Row = dict[str, Any]
SHA_256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
# What bcrypt knows, this service's default, and as far as it may be told to go: each more takes twice as long.
LEAST_ROUNDS, USUAL_ROUNDS, MOST_ROUNDS = 4, 12, 18
PASSWORD = re.compile(
    r"\$bcrypt-sha256\$v=2,t=2b,r=(?P<rounds>[1-9]\d?)\$[./A-Za-z0-9]{22}\$[./A-Za-z0-9]{31}"
    r"|\$2[aby]\$(?P<plain>\d\d)\$[./A-Za-z0-9]{53}",
    re.ASCII,
)
MOST_ATTEMPTS = 1_000
ACTORS = {"user", "api_key", "operator", "anonymous"}
INTERRUPTED = "interrupted"


@dataclass(slots=True)
class Arrival:
    """One import. `no_password`: a hash of this deployment that no password has. `masters`: of this deployment."""

    form: Form
    tenant_id: str
    no_password: str
    masters: MasterKeys | None
    left_out: Counter[str] = field(default_factory=Counter)
    """What the file has and the tenant will not, by what is said of it."""
    data_key: DataKey | None = None

    def take(self, kind: str, row: Row) -> Row | None:
        """The row as it is stored; None: it is not. Raises `Wrong`."""
        rule = RULES.get(kind)
        try:
            return row if rule is None else rule(self, row)
        except KeyError as lacking:
            raise Wrong(f"it lacks {lacking.args[0]}") from None


def _tenant(_: Arrival, row: Row) -> Row:
    # What was kept of its answers is elsewhere, under another name.
    return row | {"cache_epoch": new_id() if row["cache_ttl_seconds"] is not None else None}


def _user(arrival: Arrival, row: Row) -> Row:
    if row["role"] not in get_args(Role):
        raise Wrong("role is neither admin nor user")
    _require_email(row)
    if arrival.form == "export":
        arrival.left_out["passwords"] += 1
        return row | {"hashed_password": arrival.no_password}
    rounds = _rounds(row["hashed_password"])
    if rounds is None or not LEAST_ROUNDS <= rounds <= MOST_ROUNDS:
        raise Wrong("hashed_password is no hash that this service makes")
    # Each login would take the processor for as long as the file says, and others would wait behind it.
    if rounds > max(USUAL_ROUNDS, _rounds(arrival.no_password) or 0):
        arrival.left_out["passwords that are dearer to verify than BCRYPT_ROUNDS"] += 1
        return row | {"hashed_password": arrival.no_password}
    return row


def _rounds(hashed: str) -> int | None:
    found = PASSWORD.fullmatch(hashed)
    return None if found is None else int(found["rounds"] or found["plain"])


def _message(arrival: Arrival, row: Row) -> Row:
    if row["status"] == "pending":
        arrival.left_out["messages that still ran"] += 1
        row |= {"status": "failed", "error_code": INTERRUPTED, "claim_micro_usd": None}
    if row["webhook_due_at"] is not None:
        arrival.left_out["webhooks that were due"] += 1
    _require_cost(row)
    return row | {"webhook_due_at": None, "lease_expires_at": None}


def _require_cost(row: Row) -> None:
    """What was used was paid for. It may have cost more: what failed before it at a price is in it too."""
    counted = row["input_tokens"] is not None and row["output_tokens"] is not None
    if row["status"] != "completed" or row["attempts"] != 1 or row["cached"] or row["price"] is None or not counted:
        return
    try:
        price = json.loads(row["price"])
        rates = Rates.model_validate({name: price[name] for name in Rates.model_fields if name in price})
    except (TypeError, ValidationError):
        raise Wrong("price is none") from None
    read = min(rate for rate in (rates.input, rates.cached, rates.written) if rate is not None)
    least = -(-(row["input_tokens"] * read + row["output_tokens"] * rates.output) // TOKENS_PER_PRICE)
    if row["cost_micro_usd"] is None or row["cost_micro_usd"] < least:
        raise Wrong("cost_micro_usd is less than its tokens cost at its price")


def _document(arrival: Arrival, row: Row) -> Row:
    row |= {"taken": False, "lease_expires_at": None}
    if arrival.form == "export":
        row |= {"attempts": 0, "failures": 0}
    # Who takes documents in counts on from them: at the end of their types it would stop at this one for ever.
    if max(row["attempts"], row["failures"]) > MOST_ATTEMPTS:
        raise Wrong("attempts or failures are more than there can have been")
    if row["status"] == "processing":
        row["status"] = "queued"
    if arrival.form == "export":
        # Its passages are there and have no vectors: whoever takes documents in goes on with that.
        if row["status"] == "ready" and row["deleting_at"] is None:
            arrival.left_out["vectors of documents, which are made anew"] += 1
            row |= {"status": "queued", "progress": 0, "current": False}
        elif row["status"] == "queued" and row["characters"] is None:
            arrival.left_out["files that waited to be read"] += 1
            row |= {"status": "failed", "error_code": INTERRUPTED}
    return row


def _budget(_: Arrival, row: Row) -> Row:
    return row | {"reserved_micro_usd": 0}


def _budget_alert(arrival: Arrival, row: Row) -> Row:
    if row["due_at"] is not None:
        arrival.left_out["webhooks that were due"] += 1
    return row | {"due_at": None}


def _api_key(arrival: Arrival, row: Row) -> Row | None:
    if not set(row["scopes"]) <= set(get_args(Scope)):
        raise Wrong("scopes are none that this service knows")
    return _with_digest(arrival, row, "key_hash", "API keys")


def _invite(arrival: Arrival, row: Row) -> Row | None:
    _require_email(row)
    return _with_digest(arrival, row, "token_hash", "invites")


def _idempotency_key(arrival: Arrival, row: Row) -> Row | None:
    return _with_digest(arrival, row, "request_hash", "idempotency keys")


def _with_digest(arrival: Arrival, row: Row, name: str, what: str) -> Row | None:
    if arrival.form == "export":
        arrival.left_out[what] += 1
        return None
    if not SHA_256.fullmatch(row[name]):
        raise Wrong(f"{name} is no digest")
    return row


def _session(arrival: Arrival, _: Row) -> None:
    arrival.left_out["sessions"] += 1


def _audit_entry(_: Arrival, row: Row) -> Row:
    if row["actor_type"] not in ACTORS:
        raise Wrong("actor_type is none that this service knows")
    return row


def _provider_key(arrival: Arrival, row: Row) -> Row:
    """Without what opens it, it fails the tenant's calls: nobody's else is taken in its place."""
    if arrival.masters is None:
        raise Wrong("a provider key of the tenant's own: without MASTER_KEY its calls would go with the service's")
    sealed = row.get("sealed", b"")
    try:
        if arrival.data_key is None:
            raise Unopenable
        arrival.data_key.open(sealed, *purpose_of(row["provider"], row["base_url"]))
    except Unopenable:
        arrival.left_out["provider keys, which fail its calls until an admin sets them again"] += 1
        return row | {"sealed": b""}
    return row


def _data_key(arrival: Arrival, row: Row) -> Row | None:
    """Under a master key that nobody here has, no process would start."""
    try:
        if arrival.masters is None:
            raise Unopenable
        arrival.data_key = arrival.masters.open(arrival.tenant_id, WrappedKey(row["master"], row["sealed"]))
    except Unopenable:
        return None
    return row


def _require_email(row: Row) -> None:
    try:
        normal = normalise_email(row["email"]) == row["email"]
    except InvalidEmailError:
        normal = False
    if not normal:
        raise Wrong("email is not as this service spells emails")


RULES: dict[str, Callable[[Arrival, Row], Row | None]] = {
    "tenant": _tenant,
    "user": _user,
    "message": _message,
    "document": _document,
    "budget": _budget,
    "period_budget": _budget,
    "budget_alert": _budget_alert,
    "api_key": _api_key,
    "invite": _invite,
    "idempotency_key": _idempotency_key,
    "session": _session,
    "audit_entry": _audit_entry,
    "provider_key": _provider_key,
    "tenant_data_key": _data_key,
}
