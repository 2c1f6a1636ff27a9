"""What idempotency keys and budgets cost on `POST /messages`."""

import asyncio
import json
import re
import shutil
import statistics
import tempfile
from pathlib import Path

import asyncpg
from sqlalchemy import URL

from benchmarks.environment import Server, dsn, principal, serving, token

ROUNDS, SECONDS, CONCURRENCY = 7, 2, 32
TENANTS = 20
# Tenants 1..20 have no budget; 21..40 have one, and their users too.
WITH_BUDGET = TENANTS
SCRIPT = """
local tokens, keyed, count = {%s}, %s, 0
math.randomseed(os.time() + os.clock() * 1000000)
local run = tostring(math.random(1, 1000000000))
request = function()
  count = count + 1
  local headers = {["Content-Type"] = "application/json"}
  headers["Authorization"] = "Bearer " .. tokens[count %% #tokens + 1]
  if keyed then headers["Idempotency-Key"] = run .. "-" .. count end
  return wrk.format("POST", nil, headers, '{"content": "Hello"}')
end
"""
BUDGETS = """
INSERT INTO budgets (id, tenant_id, user_id, limit_micro_usd, period, spent_micro_usd, reserved_micro_usd)
SELECT gen_random_uuid()::text, $1, owner, 1000000000000, date_trunc('month', now() AT TIME ZONE 'UTC')::date, 0, 0
FROM unnest(ARRAY[NULL, $2]) AS owner ON CONFLICT DO NOTHING
"""


async def run(url: URL) -> None:
    if shutil.which("wrk") is None:
        print("extras: skipped, wrk is not installed (apt-get install wrk)")
        return
    await _set_budgets(url)
    print(
        f"POST /messages with extras / without, {ROUNDS} interleaved rounds of {SECONDS} s, concurrency {CONCURRENCY}"
    )
    async with serving("main:app", url) as server:
        for title, plain, budgeted in (
            (f"{TENANTS} tenants", range(1, TENANTS + 1), range(WITH_BUDGET + 1, WITH_BUDGET + TENANTS + 1)),
            ("one tenant", range(1, 2), range(WITH_BUDGET + 1, WITH_BUDGET + 2)),
        ):
            await _compare(server, title, [token(n) for n in plain], [token(n) for n in budgeted])


async def _compare(server: Server, title: str, plain: list[str], budgeted: list[str]) -> None:
    cases = {
        "without": (plain, False),
        "key": (plain, True),
        "budgets": (budgeted, False),
        "key and budgets": (budgeted, True),
    }
    with tempfile.TemporaryDirectory() as directory:
        scripts = {name: _script(Path(directory), name, *case) for name, case in cases.items()}
        for script in scripts.values():
            await _wrk(server, script, 1)
        rates = [{name: await _wrk(server, script, SECONDS) for name, script in scripts.items()} for _ in range(ROUNDS)]
    for name in list(cases)[1:]:
        ratios = sorted(rate[name] / rate["without"] for rate in rates)
        print(f"  {title}, {name:<16} {statistics.median(ratios):.2f}  ({ratios[0]:.2f}–{ratios[-1]:.2f})")


def _script(directory: Path, name: str, tokens: list[str], keyed: bool) -> Path:
    script = directory / f"{name.replace(' ', '_')}.lua"
    script.write_text(SCRIPT % (", ".join(map(json.dumps, tokens)), str(keyed).lower()))
    return script


async def _set_budgets(url: URL) -> None:
    connection = await asyncpg.connect(dsn(url))
    for number in range(WITH_BUDGET + 1, WITH_BUDGET + TENANTS + 1):
        caller = principal(number)
        await connection.execute(BUDGETS, caller.tenant_id, caller.user_id)
    await connection.close()


async def _wrk(server: Server, script: Path, seconds: int) -> float:
    """Requests per second; any failure ends the comparison."""
    process = await asyncio.create_subprocess_exec(
        "wrk", "-t1", f"-c{CONCURRENCY}", f"-d{seconds}s", "-s", str(script),
        f"http://127.0.0.1:{server.port}/messages", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output = (await process.communicate())[0].decode()
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert rate, output
    assert "Non-2xx" not in output, output
    return float(rate[1])
