"""Another tenant's ids in every place that takes one: path, body, query, header."""

from collections.abc import Awaitable, Callable
from typing import Any

from app.verification.callers import status_for
from app.verification.description import kind_in_query
from app.verification.operation import Access, Operation
from app.verification.report import Proof
from app.verification.wire import GENERATING, said
from app.verification.world import OFF, Caller, World, unlike

TENANT_HEADERS = ("X-Tenant-ID", "X-Tenant", "X-User-ID", "X-Forwarded-User", "X-Original-URL")
REFUSED = (401, 403)
Described = dict[str, Any]
Visit = Callable[[World, Proof, Operation, Described], Awaitable[None]]
# Where a model without a price and a budget do not go together, or a name is taken: nobody else's doing.
OWN_DOING = (409, OFF)
# A list goes on after the one of this kind.
LED_BY = {("GET /v1/chat/completions", "after"): "chat_completion"}


def closed(operation: Operation) -> bool:
    return operation.access is not Access.OPEN


def expected(kind: str, operation: Operation) -> int:
    """What a caller gets for an id that is another tenant's, and for one that is nobody's."""
    promised = status_for(kind, operation)
    return promised if promised in REFUSED else operation.foreign


async def in_the_path(world: World, proof: Proof, operation: Operation, _: Described) -> None:
    """As every kind of caller; just before, the other reads it: who keeps answers by their URL has it now."""
    if (theirs := world.theirs.get(operation.target)) is None:
        return
    if operation.method == "get":
        read = await world.as_the_other(operation, theirs)
        if not read.is_success:
            proof.failure(f"{said(read)}: the other tenant itself does not get it")
    for kind, caller in world.callers.items():
        what = f"{operation.name} with another tenant's id, as {kind}"
        answer = await world.call(operation, caller, target=theirs)
        nobodys = await world.call(operation, caller, target=unlike(theirs))
        if answer.status_code == OFF:
            world.report.not_seen(f"{operation.name}: this deployment has none (501)")
            continue
        world.compare(proof, answer, nobodys, what)
        _as_wanted(proof, answer.status_code, expected(kind, operation), what)


async def in_the_body(world: World, proof: Proof, operation: Operation, _: Described) -> None:
    body: dict[str, Any] = world.body_of(operation, world.asking) or {}
    for name in operation.ids_in_body:
        if (theirs := world.theirs.get(str((operation.body or {})[name]).strip("<>"))) is None:
            continue
        for kind, caller in world.callers.items():
            what = f"{operation.name} with another tenant's `{name}` in the body, as {kind}"
            promised = status_for(kind, operation)
            wanted = promised if promised in REFUSED else operation.foreign_in_body
            answer = await world.call(operation, caller, body={**body, name: theirs})
            nobodys = await world.call(operation, caller, body={**body, name: unlike(theirs)})
            world.compare(proof, answer, nobodys, what)
            _as_wanted(proof, answer.status_code, wanted, what)


async def in_the_query(world: World, proof: Proof, operation: Operation, described: Described) -> None:
    names = [each["name"] for each in described.get("parameters", []) if each["in"] == "query"]
    admin = world.callers["admin"]
    for name in names:
        if name in operation.query:
            continue
        theirs = world.theirs.get(LED_BY.get((operation.name, name)) or kind_in_query(name), world.mark)
        target = unlike(world.theirs.get(operation.target, "")) if operation.target else ""
        target = world.asking.id if operation.target == "tenant" else target
        what = f"{operation.name} with something of another tenant's as `{name}`"
        answer = await world.call(operation, admin, target=target, query={name: theirs})
        nobodys = await world.call(operation, admin, target=target, query={name: unlike(theirs)})
        world.compare(proof, answer, nobodys, what)


async def named(world: World, proof: Proof, operation: Operation, _: Described) -> None:
    """By a name that each tenant may have: the other's is there, the asking tenant has none."""
    if (name := world.theirs.get(operation.target)) is None or operation.method == "put":
        return
    if operation.method == "get":
        await world.as_the_other(operation, name)
    for kind, caller in world.callers.items():
        world.look(proof, await world.call(operation, caller, target=name), f"{operation.name}, as {kind}")


async def without_an_id(world: World, proof: Proof, operation: Operation, _: Described) -> None:
    """A read of the caller's own, right after the other's at the same URL."""
    await world.as_the_other(operation)
    for kind, caller in world.callers.items():
        answer = await world.call(operation, caller)
        if world.look(proof, answer, f"{operation.name}, as {kind}"):
            _as_promised(proof, operation, kind, answer.status_code)
    headers = dict.fromkeys(TENANT_HEADERS, world.other.id)
    query = {"tenant_id": world.other.id, "tenant": world.other.id, "owner_id": world.other.user.id}
    answer = await world.call(operation, world.callers["admin"], headers=headers, query=query)
    world.look(proof, answer, f"{operation.name} with another tenant in headers and query")


async def own_change(world: World, proof: Proof, operation: Operation, _: Described) -> None:
    """What is changed is the caller's own, whatever headers and query name."""
    headers = dict.fromkeys(TENANT_HEADERS, world.other.id)
    caller: Caller = world.callers["admin"]
    answer = await world.call(operation, caller, headers=headers, query={"tenant_id": world.other.id})
    if world.look(proof, answer, f"{operation.name} with another tenant in headers and query"):
        _as_promised(proof, operation, "admin", answer.status_code)


def _as_wanted(proof: Proof, status: int, wanted: int, what: str) -> None:
    if status != wanted and status < 500:
        proof.leak(f"{what} was answered with {status}, and not with {wanted}")


def _as_promised(proof: Proof, operation: Operation, kind: str, status: int) -> None:
    promised = status_for(kind, operation)
    if status in (promised, *OWN_DOING):
        return
    if promised in REFUSED:
        proof.leak(f"{operation.name}, as {kind}, was answered with {status}, and not with {promised}")
    else:
        proof.failure(f"{operation.name}, as {kind}, was answered with {status}, and not with {promised}")


def by_id(operation: Operation) -> bool:
    return closed(operation) and bool(operation.target) and not operation.named


def names_in_body(operation: Operation) -> bool:
    return closed(operation) and bool(operation.ids_in_body)


def by_name(operation: Operation) -> bool:
    return closed(operation) and operation.named


def plain_read(operation: Operation) -> bool:
    return closed(operation) and operation.method == "get" and not operation.target


def plain_change(operation: Operation) -> bool:
    if operation.method == "get" or operation.target or operation.ends or operation.ids_in_body:
        return False
    return closed(operation) and operation.path not in GENERATING


VISITS: tuple[tuple[str, Callable[[Operation], bool], Visit], ...] = (
    ("Another tenant's id in a path is as good as none", by_id, in_the_path),
    ("Another tenant's id in a body is as good as none", names_in_body, in_the_body),
    ("Another tenant's id, word or place in a query shows nothing", closed, in_the_query),
    ("A name that each tenant may have is the caller's own", by_name, named),
    ("A read shows the caller's own, also right after another's of the same URL", plain_read, without_an_id),
    ("A change is the caller's own, whatever headers and query name", plain_change, own_change),
)
