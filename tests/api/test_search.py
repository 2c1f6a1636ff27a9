"""What a search finds, in messages that stand in blocks and in those that do not yet."""

import random
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.core.ids import new_id
from tests.api.problems import assert_problem
from tests.helpers import Member, Tenant, send

BLOCK = 128


async def store(
    superuser: asyncpg.Connection, member: Member, texts: list[str], status: str = "completed", **columns: Any
) -> list[str]:
    """Messages of yesterday, the oldest first; their ids."""
    ids = [new_id() for _ in texts]
    names = "".join(f", {name}" for name in columns)
    values = "".join(f", ${number}" for number in range(6, 6 + len(columns)))
    await superuser.execute(
        f"INSERT INTO messages (id, content, tenant_id, user_id, status, created_at{names})"
        f" SELECT id, content, $3, $4, $5, now() - interval '1 day' + n * interval '1 second'{values}"
        " FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS given (id, content, n)",
        ids, texts, member.tenant_id, member.id, status, *columns.values(),
    )  # fmt: skip
    return ids


async def find(client: httpx.AsyncClient, member: Member, q: str, **narrowed: Any) -> list[str]:
    return await find_all(client, member, {"q": q, **narrowed})


async def find_all(client: httpx.AsyncClient, member: Member, query: dict[str, Any]) -> list[str]:
    """The ids of all pages, newest first."""
    answer = await client.get("/messages", params=query, headers=member.headers)
    found = []
    while True:
        assert answer.status_code == 200, answer.text
        found += [row["id"] for row in answer.json()]
        if "next" not in answer.links:
            return found
        answer = await client.get(answer.links["next"]["url"], headers=member.headers)


async def index(app: FastAPI, superuser: asyncpg.Connection, tenant: Tenant) -> int:
    """Make the blocks that are due; how many blocks the tenant has, all of them made."""
    await app.state.container.search_indexer.index(tenant.id)
    counted = await superuser.fetchrow(
        "SELECT count(*), count(words) FROM search_blocks WHERE tenant_id = $1", tenant.id
    )
    assert counted[0] == counted[1]
    return int(counted[0])


@pytest.mark.parametrize(
    ("content", "q", "found"),
    [
        ("See app/services/main.py:20 there", "main.py", True),
        ("See app/services/main.py:20 there", "services/main.py", True),
        ("See app/services/main.py:20 there", "py.main", False),
        ("The quick brown fox", '"quick brown"', True),
        ("The quick brown fox", '"brown quick"', False),
        ("The quick brown fox", "quick fox", True),
        ("The quick brown fox", "QUICK", True),
        ("The quick brown fox", "qui*", True),
        ("The quick brown fox", '"quick bro*"', True),
        ("The quick brown fox", "uick*", False),
        ("The quick brown fox", "quick -brown", False),
        ("The quick brown fox", 'fox -"brown quick"', True),
        ("The quick brown fox", "cat or fox", True),
        ("The quick brown fox", "cat dog or fox", True),
        ("The quick brown fox", "cat or fox quack", False),
        ("------ Intro ------", "-" * 33 + " Intro " + "-" * 33, True),
        ("git push --force now", "--force", True),
        ("a semi-join is one", "semi-join", True),
        ("it isn't so", "isn't", True),
        ("snake_case_name", "case", True),
        ("write to someone@acme.example", "someone@acme.example", True),
        ("ÄPFEL und Birnen", "äpfel", True),
        ("cafe\u0301 in decomposed form", "caf\u00e9", True),
        ("caf\u00e9 in composed form", "cafe\u0301", True),
        ("日本語 の 文書", "日本語", True),
        ("日本語の文書", "日本*", True),
        ("rock 'n' roll\\", "rock 'n' roll\\", True),
        ("nothing of it", "words & stuff | 'x':* !a <-> b", False),
    ],
)
async def test_what_is_typed_finds_what_is_meant(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, content: str, q: str, *, found: bool
) -> None:
    ids = await store(superuser, acme.user, [content])
    assert await find(client, acme.user, q) == (ids if found else [])


async def test_a_message_is_found_by_its_answer_as_soon_as_it_has_ended(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    sent = await send(client, acme.user, "an unmistakable platypus")
    assert "platypus" in sent["response"]
    assert await find(client, acme.user, "unmistakable platypus") == [sent["id"]]


@pytest.mark.parametrize("q", ["-python", "-" * 33, "- " * 300, "a*", "!!!", '"', " or ", " ".join(["many"] * 99)])
async def test_a_search_without_a_word_to_find_is_refused(client: httpx.AsyncClient, acme: Tenant, q: str) -> None:
    answer = await client.get("/messages", params={"q": q[:500]}, headers=acme.user.headers)
    problem = assert_problem(answer, 422)
    assert problem["errors"][0]["loc"] == ["query", "q"]


@pytest.mark.parametrize("indexed", [False, True])
async def test_blocks_hide_nothing_and_show_nothing_else(
    app: FastAPI,
    client: httpx.AsyncClient,
    superuser: asyncpg.Connection,
    acme: Tenant,
    rival: Tenant,
    *,
    indexed: bool,
) -> None:
    """Against the plain reading of the same texts: words in all, in half, in few, in the oldest alone."""
    dice = random.Random(7)
    texts = []
    for number in range(5 * BLOCK + 17):
        words = ["every", "half" if number % 2 else "other", f"n{number}", *dice.choices(["red", "green", "blue"], k=2)]
        words += ["ancient"] if number < BLOCK else ["rare"] if number % 97 == 0 else []
        dice.shuffle(words)
        texts.append(" ".join(words))
    ids = await store(superuser, acme.user, texts)
    await store(superuser, rival.user, texts)
    if indexed:
        assert await index(app, superuser, acme) == 5
    newest_first = list(zip(ids, texts, strict=True))[::-1]

    def those(*words: str, without: tuple[str, ...] = ()) -> list[str]:
        return [row for row, text in newest_first if {*words} <= {*text.split()} and not {*without} & {*text.split()}]

    assert await find(client, acme.user, "every", limit=100) == those("every")
    assert await find(client, acme.user, "half", limit=50) == those("half")
    assert await find(client, acme.user, "rare") == those("rare")
    assert await find(client, acme.user, "ancient", limit=7) == those("ancient")
    assert await find(client, acme.user, "n3 every") == those("n3", "every")
    assert await find(client, acme.user, "n3*") == [row for row, text in newest_first if " n3" in f" {text}"]
    assert await find(client, acme.user, "half other") == []
    assert await find(client, acme.user, "every -half", limit=100) == those("every", without=("half",))
    assert await find(client, acme.user, "ancient red -green") == those("ancient", "red", without=("green",))
    assert await find(client, acme.user, '"red green"') == [row for row, text in newest_first if "red green" in text]
    assert await find(client, acme.user, "rare or n1") == [
        row for row in ids[::-1] if row in those("rare") + those("n1")
    ]
    assert await find(client, acme.user, "absent") == []
    answer = await client.get("/messages?q=ancient&skip=120&limit=5", headers=acme.user.headers)
    assert [row["id"] for row in answer.json()] == those("ancient")[120:125]
    assert await find(client, acme.user, "ancient", user_id=acme.user.id) == those("ancient")
    assert await find(client, acme.user, "ancient", user_id=acme.admin.id) == []
    assert await find(client, acme.user, "ancient", status="failed") == []
    assert await find(client, acme.user, "ancient", status="completed") == those("ancient")
    since = await superuser.fetchval("SELECT created_at FROM messages WHERE id = $1", ids[100])
    assert await find(client, acme.user, "ancient", since=since.isoformat()) == those("ancient")[: BLOCK - 100]


async def test_what_changes_in_a_block_is_found_as_it_is(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    ids = await store(superuser, acme.user, [f"word{number}" for number in range(2 * BLOCK)], "failed")
    assert await index(app, superuser, acme) == 2
    answer = await client.post(f"/messages/{ids[3]}/retry", headers=acme.user.headers)
    assert answer.status_code == 200
    assert "mock" in answer.json()["response"]
    await superuser.execute("UPDATE messages SET response = 'afterwards' WHERE id = $1", ids[200])
    assert (await client.delete(f"/messages/{ids[5]}", headers=acme.user.headers)).status_code == 204
    late = await store(superuser, acme.user, ["latecomer"])
    for indexed in (False, True):
        if indexed:
            assert await index(app, superuser, acme) == 2
        assert await find(client, acme.user, "mock") == [ids[3]]
        assert await find(client, acme.user, "afterwards") == [ids[200]]
        assert await find(client, acme.user, "word5") == []
        assert await find(client, acme.user, "word7") == [ids[7]]
        assert await find(client, acme.user, "latecomer") == late
    words = await superuser.fetchval(
        "SELECT string_agg(words::text, ' ') FROM search_blocks WHERE tenant_id = $1", acme.id
    )
    assert "word5'" not in words  # what was deleted leaves the index
    assert "word7'" in words


async def test_a_block_ends_before_a_message_that_runs(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    ids = await store(superuser, acme.user, [f"word{number}" for number in range(2 * BLOCK)])
    await superuser.execute(
        "UPDATE messages SET status = 'pending', lease_expires_at = now() + interval '1 hour' WHERE id = $1", ids[150]
    )
    assert await index(app, superuser, acme) == 1
    await superuser.execute("UPDATE messages SET status = 'completed', response = 'finally' WHERE id = $1", ids[150])
    assert await find(client, acme.user, "finally") == [ids[150]]
    assert await index(app, superuser, acme) == 2
    assert await find(client, acme.user, "finally") == [ids[150]]


async def test_long_texts_make_short_blocks(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    """Distinct words of four bytes a character: more than a block of them could hold."""
    text = " ".join(chr(0x20000 + number) for number in range(30_000))
    ids = await store(superuser, acme.user, [f"{text} w{number}" for number in range(3)] + ["short"] * BLOCK)
    assert await index(app, superuser, acme) == 3
    assert await find(client, acme.user, "w1") == []  # beyond what is searched
    assert await find(client, acme.user, chr(0x20000)) == ids[2::-1]


async def test_the_work_of_a_search_is_bounded_and_its_next_page_goes_on(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    """A walk of one user's messages, which has no index of words."""
    ids = await store(superuser, acme.user, ["needle"] + ["hay"] * 4_000)
    answer = await client.get(f"/messages?q=needle&user_id={acme.user.id}", headers=acme.user.headers)
    assert (answer.status_code, answer.json()) == (200, [])
    answer = await client.get(answer.links["next"]["url"], headers=acme.user.headers)
    assert [row["id"] for row in answer.json()] == ids[:1]
    assert "next" not in answer.links

    answer = await client.get(f"/messages?q=hay -needle&user_id={acme.user.id}&skip=2990", headers=acme.user.headers)
    assert [row["id"] for row in answer.json()] == ids[4000 - 2990 : 990 : -1]
    answer = await client.get(f"/messages?q=needle&user_id={acme.user.id}&skip=1", headers=acme.user.headers)
    answer = await client.get(answer.links["next"]["url"], headers=acme.user.headers)
    assert answer.json() == []  # what was not skipped at first is skipped by the next page


async def test_in_own_mode_a_search_walks_the_viewers_messages_alone(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    mine = await store(superuser, acme.user, ["every mine"] * 3)
    theirs = await store(superuser, acme.admin, ["every theirs"] * 2 * BLOCK)
    await index(app, superuser, acme)
    await client.patch(f"/tenants/{acme.id}", json={"message_visibility": "own"}, headers=acme.admin.headers)
    assert await find(client, acme.user, "every") == mine[::-1]
    assert await find(client, acme.user, "theirs") == []
    assert await find(client, acme.user, "theirs", user_id=acme.admin.id) == []
    assert await find(client, acme.admin, "theirs", limit=100) == theirs[::-1]


@pytest.mark.parametrize("viewer", [None, "", "somebody else", "*"])
@pytest.mark.parametrize("groups", [None, '[[{"text": "x", "excluded": false, "prefix": false}]]'])
async def test_the_walk_shows_nothing_where_nobody_has_entered(
    superuser: asyncpg.Connection, acme: Tenant, viewer: str | None, groups: str | None
) -> None:
    """The function reads past row-level security: tenant and viewer are its own to ask for."""
    await store(superuser, acme.user, ["x"])
    transaction = superuser.transaction()
    await transaction.start()
    try:
        entered = ["app.tenant_id"] if viewer == "*" or groups else []
        for name, value in [*((name, acme.id) for name in entered), ("app.viewer", viewer), ("role", "llm_saas_app")]:
            if value is not None:
                await superuser.execute("SELECT set_config($1, $2, true)", name, value)
        shown = await superuser.fetch(
            "SELECT * FROM search_messages($1, NULL, NULL, NULL, NULL, NULL, NULL, 9)", groups
        )
    finally:
        await transaction.rollback()
    assert len(shown) == (viewer == "*")
