"""The events of one message, from a position on: from this process's memory where it runs here, else from the database.

The offset in characters is the same in both, so a reader may begin in one process and go on in another.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from app.core import items
from app.core.errors import AppError, DatabaseUnavailable
from app.db.execution import Record
from app.db.session import TenantSession
from app.messages.contents import log_of
from app.messages.generation import Generation, Reader
from app.messages.log import Kind, Log, Piece
from app.messages.lookup import find
from app.messages.shared_looks import SharedLooks
from app.messages.signals import MessageSignals
from app.models import MessageStatus
from app.models.rows import MessageRow
from app.models.text_places import DELTA_ROW, OF_DELTA

# What is sealed is longer than its text: some may be read that lie before the offset.
READ_DELTAS = text("""
SELECT message_deltas.start, message_deltas.text, COALESCE(message_deltas.kind, 'text') AS kind, message_deltas.number
FROM message_deltas
WHERE message_deltas.tenant_id = :tenant_id AND message_deltas.message_id = :id
  AND message_deltas.attempt = :attempt AND message_deltas.start + length(message_deltas.text) > :offset
ORDER BY message_deltas.start
""")
ENDED = -1


class DeltaRow(Record):
    __slots__ = ()
    text_places = OF_DELTA
    text_row = DELTA_ROW
    if_unreadable = "raise"

    start: int
    text: str
    kind: Kind
    number: int | None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a reader stands: after `offset` characters of the run number `attempt`; `ENDED`: it has seen the end."""

    attempt: int
    offset: int


@dataclass(frozen=True, slots=True)
class Delta:
    """What came next; it lies before the `position`."""

    event: items.Delta
    position: Position


@dataclass(frozen=True, slots=True)
class End:
    """The message as it is stored now; `error` says why it failed, or why nobody knows its end. `output`: all it said.

    Of a message that is not stored only the process that ran it knows the output.
    """

    row: MessageRow | None
    error: AppError | None = None
    output: tuple[items.Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Cited:
    """The passages that the prompt of this run has."""

    citations: list[dict[str, Any]]


Event = MessageRow | Cited | Delta | End | None
"""The message first, what it cites if it asks documents, then deltas, then one end. None: nothing new, the reader is
still there."""

Read = Callable[[int], Awaitable[tuple[MessageRow, Sequence[DeltaRow]]]]
"""The message, and its stored deltas that reach beyond an offset."""


def shared_read(db: TenantSession, looks: SharedLooks, message_id: str) -> Read:
    """Reads as the caller, together with the caller's other readers of the message."""

    async def read(offset: int) -> tuple[MessageRow, Sequence[DeltaRow]]:
        async with db.begin() as connection:
            row = await find(connection, db.principal, message_id)
            values = {"tenant_id": db.principal.tenant_id, "id": message_id, "attempt": row.attempts, "offset": offset}
            return row, (await connection.execute(READ_DELTAS, values, DeltaRow)).all()

    async def look(offset: int) -> tuple[MessageRow, Sequence[DeltaRow]]:
        found: tuple[MessageRow, Sequence[DeltaRow]] = await looks.look((message_id, db.principal), offset, read)
        return found

    return look


async def follow_running(
    generation: Generation, db: TenantSession, signals: MessageSignals, reader: Reader, offset: int
) -> AsyncIterator[Event]:
    """A message that runs in this process, for the caller of `db`."""
    signals.access.was_good(db.principal)
    yield generation.row
    for event in _cited(generation.row, offset):
        yield event
    generation.readers.add(reader)
    try:
        while not reader.closed:
            if offset < generation.log.length or generation.ended.done():
                try:
                    await signals.access.require(db)
                except AppError as error:
                    yield End(None, error)
                    return
            if offset < generation.log.length:
                for delta in _deltas(generation.attempt, generation.log.since(offset)):
                    offset = delta.position.offset
                    yield delta
            elif generation.ended.done():
                for event in _ending(generation, offset):
                    yield event
                return
            else:
                yield None
                await reader.changed()
    finally:
        generation.readers.discard(reader)


async def follow_ended(row: MessageRow) -> AsyncIterator[Event]:
    """A message that had ended when it was stored, from its beginning."""
    yield row
    for event in (*_cited(row, 0), *_rest(row, log_of(row), 0)):
        yield event


async def follow_stored(
    row: MessageRow, read: Read, signals: MessageSignals, reader: Reader, offset: int
) -> AsyncIterator[Event]:
    """A message that has ended, or runs in another process."""
    yield row
    cited = False
    signals.add(row.id, reader)
    try:
        while not reader.closed:
            try:
                current, deltas = await read(offset)
            except DatabaseUnavailable:  # it comes back, and the message goes on meanwhile
                yield None
                await reader.changed()
                continue
            except AppError as error:  # the message is gone, or the reader's access
                yield End(None, error)
                return
            if current.attempts != row.attempts:  # somebody runs it again: what was read is no more
                row, offset, cited = current, 0, False
                yield row
                continue
            # Not before there is an answer: of a message that waits for a worker the passages may go meanwhile.
            if not cited and (deltas or current.status != MessageStatus.PENDING):
                cited = True
                for event in _cited(current, offset):
                    yield event
            for delta in _unseen(row.attempts, deltas, offset):
                offset = delta.position.offset
                yield delta
            if current.status != MessageStatus.PENDING:
                for event in _rest(current, log_of(current), offset):
                    yield event
                return
            yield None
            await reader.changed()
    finally:
        signals.remove(row.id, reader)


def _unseen(attempt: int, rows: Sequence[DeltaRow], offset: int) -> Iterator[Delta]:
    for row in rows:
        piece = Piece(row.start, row.kind, row.number, row.text)
        if piece.end <= offset:  # read for another reader, who stands further back
            continue
        yield from _deltas(attempt, [piece.after(offset)])
        offset = piece.end


def _deltas(attempt: int, pieces: Iterable[Piece]) -> Iterator[Delta]:
    for piece in pieces:
        yield Delta(piece.event, Position(attempt, piece.end))


def _cited(row: MessageRow, offset: int) -> Sequence[Event]:
    """Before the first delta: who resumes behind it has seen this."""
    return [] if row.citations is None or offset else [Cited(row.citations)]


def _ending(generation: Generation, offset: int) -> Sequence[Event]:
    failure = generation.ended.exception()
    if failure is not None:
        return [End(None, failure if isinstance(failure, AppError) else AppError())]
    row, error = generation.ended.result(), generation.error
    return [End(None, error)] if row is None else _rest(row, generation.log, offset, error)


def _rest(row: MessageRow, log: Log, offset: int, error: AppError | None = None) -> Sequence[Event]:
    """What the reader has not seen, and the end."""
    return [*_deltas(row.attempts, log.since(offset)), End(row, error, log.items())]
