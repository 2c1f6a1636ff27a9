"""What embedding costs a tenant: claimed before a model is asked, settled with what was stored by means of it.

A claim is the most that the texts can cost, in a transaction of its own that fails where a budget does not cover it.
What is free is only counted. A process that is killed in between leaves its claim spent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Protocol

from sqlalchemy import BigInteger, Boolean, DateTime, String, bindparam, text

from app.core.errors import BudgetExceeded
from app.db.execution import Connection
from app.db.session import Session
from app.documents.shapes import Embedded, Embedder, Kind, Vector
from app.llm.pricing import PriceTable, most
from app.observability.instruments import EMBEDDED_TEXTS, EMBEDDED_TOKENS, EMBEDDING_SECONDS
from app.observability.spenders import SPENDERS

NOBODY = ""
"""Whose texts are embedded anew because the operator changed the model."""
CHARGE = text("""
SELECT now() AS at, charge_embedding(:user_id, :model, COALESCE(:at, now()), :tokens, :cost, :ahead, :bounded)
""").bindparams(
    *(bindparam(name, type_=String) for name in ("user_id", "model")),
    bindparam("at", type_=DateTime(timezone=True)),
    *(bindparam(name, type_=BigInteger) for name in ("tokens", "cost", "ahead")),
    bindparam("bounded", type_=Boolean),
)


class Ceiling(Protocol):
    """What the operator lets every tenant spend."""

    async def count_of(self, tenant_id: str, begin: Callable[[], Session]) -> None: ...

    async def bound(self, connection: Connection) -> None: ...


class Refusals(Protocol):
    """Hears of what a budget refuses, after its transaction."""

    async def note(
        self, begin: Callable[[], Session], whose: tuple[str, ...], user_id: str, need: int, error: BudgetExceeded
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Payer:
    """Whose tokens they are. `begin` opens a transaction in the tenant; `bounded`: what no budget covers is refused."""

    tenant_id: str
    user_id: str
    begin: Callable[[], Session]
    bounded: bool = True


@dataclass(frozen=True, slots=True)
class Claim:
    """Of `micro_usd` (None: the model has no price), counted at `at`; where that is None nothing was."""

    payer: Payer
    model: str
    micro_usd: int | None
    at: datetime | None

    async def settle(self, connection: Connection, tokens: int, cost: int | None) -> None:
        """Count what it came to. It is the last statement of its transaction: others of the user wait at the row."""
        values = {
            "user_id": self.payer.user_id,
            "model": self.model,
            "at": self.at,
            "tokens": tokens,
            "cost": (cost or 0) - (self.micro_usd or 0),
            "ahead": 0,
            "bounded": False,
        }
        await connection.execute(CHARGE, values)


@dataclass(frozen=True, slots=True)
class Metered:
    """What was embedded, and is to be paid in the transaction that uses it."""

    vectors: Sequence[Vector]
    tokens: int
    micro_usd: int | None
    claim: Claim

    async def settle(self, connection: Connection) -> None:
        await self.claim.settle(connection, self.tokens, self.micro_usd)


class Meter:
    """Asks embedders, on the account of who asks."""

    def __init__(self, prices: PriceTable, ceiling: Ceiling, refusals: Refusals | None = None) -> None:
        self._prices = prices
        self._ceiling = ceiling
        self._refusals = refusals

    async def embed(self, embedder: Embedder, texts: Sequence[str], kind: Kind, payer: Payer) -> Metered:
        """The vectors, whose tokens count once they are settled.

        Raises:
            BudgetExceeded, ModelWithoutPrice: nothing was asked.
            ProviderError: of the embedder; the claim was given back.
        """
        claim = Claim(payer, embedder.name, 0, None)
        if not embedder.is_free:
            claim = await self._claim(embedder, sum(_most_tokens(embedder, each) for each in texts), payer)
        began = monotonic()
        try:
            embedded: Embedded = await embedder.embed(texts, kind)
        except Exception:
            if claim.micro_usd:
                async with payer.begin() as connection:
                    await claim.settle(connection, 0, 0)
            raise
        cost = self._cost(embedder, embedded.tokens)
        EMBEDDING_SECONDS.observe(monotonic() - began, embedder.name, kind)
        EMBEDDED_TEXTS.add(embedder.name, kind, amount=len(texts))
        EMBEDDED_TOKENS.add(embedder.name, kind, amount=embedded.tokens)
        SPENDERS.add(payer.tenant_id, cost or 0)
        return Metered(embedded.vectors, embedded.tokens, cost, claim)

    async def require_room(self, embedder: Embedder, tokens: int, payer: Payer) -> None:
        """Raise as `embed` does unless the budgets cover so many tokens now. Nothing is claimed."""
        if not embedder.is_free:
            await self._claim(embedder, 0, payer, ahead=tokens)

    async def _claim(self, embedder: Embedder, tokens: int, payer: Payer, ahead: int = 0) -> Claim:
        cost, further = self._cost(embedder, tokens), self._cost(embedder, ahead)
        await self._ceiling.count_of(payer.tenant_id, payer.begin)
        values = {
            "user_id": payer.user_id,
            "model": embedder.name,
            "at": None,
            "tokens": 0,
            "cost": cost,
            "ahead": further,
            "bounded": payer.bounded,
        }
        try:
            async with payer.begin() as connection:
                await self._ceiling.bound(connection)
                claimed = (await connection.execute(CHARGE, values)).one()
        except BudgetExceeded as error:
            if self._refusals is not None:
                whose, need = (payer.tenant_id, payer.user_id), max(cost or 0, further or 0)
                await self._refusals.note(payer.begin, whose, payer.user_id, need, error)
            raise
        return Claim(payer, embedder.name, cost, claimed.at)

    def _cost(self, embedder: Embedder, tokens: int) -> int | None:
        if embedder.is_free:
            return 0
        price = self._prices.price_of(embedder.name)
        return None if price is None else most(price, tokens, 0)


def _most_tokens(embedder: Embedder, text: str) -> int:
    # Tokenizers work on bytes; and what is longer than the model reads, it refuses.
    return min(len(text.encode("utf-8", "surrogatepass")), embedder.max_tokens)
