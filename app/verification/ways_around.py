"""What needs no id of another tenant's: search, documents, kept answers, repeated requests, streams, exports, usage."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

from app.core.ids import new_id
from app.verification.operation import Access, Operation
from app.verification.report import Proof
from app.verification.things import prompt
from app.verification.wire import said
from app.verification.world import OFF, Caller, World, unlike

Way = Callable[[World, Proof], Awaitable[None]]
# The other's own doing while it is looked at: it logs in, and its reads of its log are told there.
CHANGING = ("audit_entry", "session")
KEEP_SECONDS = 600
CHECKED = ("admin", "user", "key_to_read", "key_with_all")


def _other(world: World) -> Caller:
    return Caller("admin", {}, world.other.admin)


async def _compared(
    world: World, proof: Proof, what: str, ask: Callable[[Caller, str], Awaitable[httpx2.Response]], theirs: str
) -> None:
    """For each caller that may: with what is the other's, and with what nobody has."""
    for kind in CHECKED:
        caller = world.callers[kind]
        answer, nobodys = await ask(caller, theirs), await ask(caller, unlike(theirs))
        world.compare(proof, answer, nobodys, f"{what}, as {kind}")


async def search(world: World, proof: Proof) -> None:
    """By words that only the other has written, in messages and in documents, however it is narrowed."""

    async def messages(caller: Caller, word: str) -> httpx2.Response:
        return await world.send("GET", "/messages", caller, params={"q": word})

    if not world.shows_the_other(await messages(_other(world), world.mark)):
        proof.failure("the other tenant itself finds no message by its word")
    await _compared(world, proof, "GET /messages?q= with a word of another tenant's", messages, world.mark)

    async def metadata(caller: Caller, word: str) -> httpx2.Response:
        return await world.send("GET", "/v1/chat/completions", caller, params={"metadata[of]": word})

    await _compared(world, proof, "GET /v1/chat/completions?metadata[of]=", metadata, world.mark)


async def documents(world: World, proof: Proof) -> None:
    theirs = world.theirs.get("document")
    if theirs is None:
        return

    def narrowed(name: str, narrow: Callable[[str], Any]) -> Callable[[Caller, str], Awaitable[httpx2.Response]]:
        async def ask(caller: Caller, value: str) -> httpx2.Response:
            body = {"query": world.mark, name: narrow(value)} if name else {"query": value}
            return await world.send("POST", "/search", caller, json=body)

        return ask

    for kind in CHECKED:  # how near one's own passages are to it is another question for each word
        found = await narrowed("", str)(world.callers[kind], world.mark)
        world.look(proof, found, f"POST /search for another tenant's word, as {kind}")
    ways: list[tuple[str, Callable[[str], Any], str]] = [
        ("ids", lambda value: [value], theirs),
        ("collection", str, world.mark),
        ("filter", lambda value: {"of": value}, world.mark),
    ]
    for name, narrow, value in ways:
        await _compared(world, proof, f"POST /search by another tenant's `{name}`", narrowed(name, narrow), value)
    body = {"content": prompt("hello"), "documents": {"ids": [theirs]}}
    answer = await world.send("POST", "/messages", world.callers["admin"], json=body)
    world.look(proof, answer, "POST /messages that is answered from another tenant's document")


async def own_documents(world: World, proof: Proof) -> None:
    """That nobody found them before says nothing where nobody can."""
    if "document" not in world.theirs:
        return
    proof.tried = 1
    answer = await world.send("POST", "/search", _other(world), json={"query": world.mark})
    if not world.shows_the_other(answer):
        proof.failure(f"{said(answer)}: the other tenant itself finds no passage by its word")


async def references(world: World, proof: Proof) -> None:
    """What a body may name where its field is no `_id`."""
    item = world.theirs.get("conversation_item", "/").partition("/")[2]
    ways: dict[str, tuple[Callable[[str], dict[str, Any]], str]] = {
        "conversation": (
            lambda value: {"input": "Hello", "conversation": value},
            world.theirs.get("conversation_of_responses", ""),
        ),
        "item_reference": (lambda value: {"input": [{"type": "item_reference", "id": value}]}, item),
    }
    for name, (body_of, theirs) in ways.items():
        if not theirs:
            continue

        async def ask(
            caller: Caller, value: str, body_of: Callable[[str], dict[str, Any]] = body_of
        ) -> httpx2.Response:
            return await world.send("POST", "/v1/responses", caller, json=body_of(value))

        await _compared(world, proof, f"POST /v1/responses with another tenant's {name}", ask, theirs)


async def kept_answers(world: World, proof: Proof) -> None:
    """The same prompt in both tenants, which both keep answers."""
    for tenant in (world.other, world.asking):
        caller = Caller("admin", {}, tenant.admin)
        answer = await world.send("PATCH", f"/tenants/{tenant.id}", caller, json={"cache_ttl_seconds": KEEP_SECONDS})
        if answer.status_code != 200:
            proof.failure(f"no tenant can keep answers: {said(answer)}")
            return
    body = {"content": prompt(f"echo {new_id()[-12:]}")}
    states = []
    for member in (world.other.admin, world.other.admin, world.asking.admin):
        answer = await world.send("POST", "/messages", Caller("admin", {}, member), json=body)
        states.append(answer.headers.get("x-cache", "").lower())
    if not world.look(proof, answer, "POST /messages with another tenant's prompt"):
        return
    if states[1] != "hit":
        world.report.not_seen(f"kept answers: this deployment keeps none (X-Cache: {states[1] or 'not said'})")
    if states[2] == "hit" or (answer.is_success and answer.json().get("cached")):
        proof.leak("POST /messages with another tenant's prompt was answered with what was kept for that one")


async def repeated_requests(world: World, proof: Proof) -> None:
    """An `Idempotency-Key` that another tenant has used is free."""

    def takes_a_key(operation: Operation) -> bool:
        return operation.access is Access.MEMBER and operation.path in ("/conversations", "/v1/conversations")

    for operation, _ in world.those(takes_a_key):
        if operation.method != "post":
            continue
        key, body = {"Idempotency-Key": new_id()}, world.body_of(operation, world.asking)
        first = await world.call(operation, _other(world), headers=key, body=body)
        second = await world.call(operation, world.callers["admin"], headers=key, body=body)
        what = f"{operation.name} with an Idempotency-Key of another tenant's"
        if not first.is_success:
            proof.failure(f"{said(first)}: nothing to be repeated")
            continue
        made = first.json()["id"]
        world.marks.add(made.lower())
        if world.look(proof, second, what) and second.status_code != operation.ok:
            proof.leak(f"{what} was answered with {second.status_code}, and not with {operation.ok}")


async def streams(world: World, proof: Proof) -> None:
    """Followed and gone on with in the middle."""
    message, response = world.theirs.get("running_message"), world.theirs.get("running_response")

    async def follow(caller: Caller, value: str) -> httpx2.Response:
        headers = {"Last-Event-ID": "1-0", "Accept": "text/event-stream"}
        return await world.send("GET", f"/messages/{value}/stream", caller, headers=headers)

    async def follow_response(caller: Caller, value: str) -> httpx2.Response:
        query = {"stream": "true", "starting_after": "0"}
        return await world.send("GET", f"/v1/responses/{value}", caller, params=query)

    for what, ask, theirs in (
        ("GET /messages/{id}/stream from the middle on", follow, message),
        ("GET /v1/responses/{id}?stream=true from the middle on", follow_response, response),
    ):
        if theirs is None:
            continue
        read = await ask(_other(world), theirs)
        if not read.is_success:
            proof.failure(f"{said(read)}: the other tenant itself cannot follow it")
        await _compared(world, proof, what, ask, theirs)


async def whole_tenants(world: World, proof: Proof) -> None:
    """The export and the usage of the asking tenant."""
    admin = world.callers["admin"]
    export = await world.send("GET", f"/tenants/{world.asking.id}/export", admin)
    if world.look(proof, export, "GET /tenants/{id}/export") and world.asking.user.id not in export.text:
        proof.failure("the asking tenant's export does not hold its own user")
    for group in ("user", "model", "day"):
        answer = await world.send("GET", "/usage", admin, params={"group_by": group})
        world.look(proof, answer, f"GET /usage?group_by={group}")


async def pages(world: World, proof: Proof) -> None:
    """The other's cursors."""

    def is_list(operation: Operation) -> bool:
        return operation.access is not Access.OPEN and operation.method == "get" and operation.target in ("", "tenant")

    for operation, described in world.those(is_list):
        if not any(each["name"] == "cursor" for each in described.get("parameters", [])):
            continue
        listed = await world.as_the_other(operation, world.other.id, limit="1")
        url = listed.links.get("next", {}).get("url")
        if url is None:
            if listed.status_code != OFF:
                proof.failure(f"{said(listed)}: the other's list has no second page")
            continue
        query = {"cursor": httpx2.URL(url).params["cursor"], "limit": "1"}
        answer = await world.call(operation, world.callers["admin"], target=world.asking.id, query=query)
        world.look(proof, answer, f"{operation.name} with another tenant's cursor")


async def all_that_the_other_has(world: World) -> list[str]:
    """To be compared: what has changed in it was changed by somebody else."""
    usage = await world.send("GET", "/usage", _other(world), params={"group_by": "model"})
    lines = [line for line in await world.export_of(world.other) if line["type"] not in CHANGING]
    return sorted([usage.text, *map(repr, lines)])


WAYS: dict[str, Way] = {
    "A list is not gone on with at another tenant's place": pages,
    "A search by another tenant's words finds nothing of it": search,
    "Another tenant's streams are followed by nobody else, from the middle on neither": streams,
    "What a body names without an id field is the caller's own": references,
    # Before the next one, whose message says in the caller's own export what it asked for.
    "Export and usage are the caller's own": whole_tenants,
    "Another tenant's documents are found, quoted and asked by nobody else": documents,
}
# The other's own requests change what it has, or what it is billed for.
BOTH_WRITE: dict[str, Way] = {
    "Its own documents are found by the other tenant itself": own_documents,
    "What is kept of an answer is its tenant's alone": kept_answers,
    "Another tenant's Idempotency-Key is free": repeated_requests,
}
