"""A run: the catalog, two throwaway tenants, every operation by every kind of caller; and nothing left behind."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.core.errors import AppError
from app.verification.database import Site, is_of, look_at_catalog, look_at_rows, look_at_statements, none_to_look_at
from app.verification.description import described, gaps
from app.verification.foreign_ids import VISITS, closed
from app.verification.operation import Operation
from app.verification.operations import OPERATIONS
from app.verification.progress import Progress
from app.verification.report import Proof, Report
from app.verification.tenants import Tenant, ThrowawayTenants
from app.verification.things import model as default_model
from app.verification.ways_around import BOTH_WRITE, WAYS, Way, all_that_the_other_has
from app.verification.wire import GENERATING, NotVerified, Wire, said
from app.verification.world import Caller, World, two_tenants

DESCRIPTION = "/openapi.json"
SETTLING_SECONDS = 120.0
LOOK_SECONDS = 0.1
UNHEARD = "the statements that the service executes: those of this code are heard without --url, where this serves it"
# Of what has changed: enough to know it by.
LINE = 200
UNSETTLED = ("queued", "processing", "pending")


@dataclass
class Verification:
    """`known`: the description of the code that is installed here, for where the service shows none of its own."""

    wire: Wire
    tenants: ThrowawayTenants
    report: Report
    known: dict[str, Any]
    sites: Sequence[Site] = ()
    model: str = ""
    progress: Progress = field(default_factory=Progress)
    statements: list[str] | None = None
    """What the service executes, where it is served by this process."""
    _of_catalog: list[Proof] = field(default_factory=list)

    async def run(self) -> Report:
        """The report, also of a run that was interrupted or given up; what was made is erased before."""
        started = time.monotonic()
        try:
            await self._look()
        except asyncio.CancelledError:
            self.report.gave_up = "interrupted"
        except AppError as error:
            self.report.gave_up = error.detail
        try:
            self.progress.tell("erasing what was made")
            await self.tenants.erase_all()
        except AppError as error:
            if error.detail not in self.report.gave_up:
                self.report.gave_up = "; ".join(filter(None, [self.report.gave_up, error.detail]))
        self.progress.close()
        report = self.report
        report.seconds = time.monotonic() - started
        report.requests, report.messages = self.wire.requests, self.wire.messages
        report.waited_seconds = self.wire.waited
        return report

    async def _look(self) -> None:
        await self.look_at_catalogs()
        rows = self.rows_of(await self.description())
        self.progress.tell("two throwaway tenants")
        await self.tenants.erase_all()
        asking, other = await two_tenants(self.tenants)
        world = World(self.wire, self.tenants, self.report, asking, other, rows)
        await self._choose_model(world)
        await world.furnish(self.progress.tell)
        await self._settle(world)
        await self.look_at_rows(asking, other)
        await self._look_at_service(world)
        if self.statements is None:
            self.report.not_seen(UNHEARD)
        else:
            await look_at_statements(self.sites[0], self.statements, self.report)

    async def description(self) -> dict[str, Any]:
        """The service's own, if it shows one; raises `NotVerified` for what is no such service."""
        answer = await self.wire.get(DESCRIPTION)
        if answer.status_code == 200 and "paths" in answer.text:
            found: dict[str, Any] = answer.json()
            return found
        if answer.status_code != 404:
            raise NotVerified(f"{self.wire.url} is not this service: {said(answer)}")
        self.report.not_seen("the service's own OpenAPI description (DOCS_ENABLED=false): that of this code was taken")
        return self.known

    def rows_of(self, schema: dict[str, Any]) -> list[tuple[Operation, dict[str, Any]]]:
        """The operations that are to be called; one that nobody has said who may call it is a finding."""
        found = described(schema)
        self.report.operations = len(found)
        known = {(row.method, row.path): row for row in OPERATIONS}
        proof = self.report.proof("Every operation that the service describes is known, and looked at")
        proof.tried = len(found)
        for method, path in sorted(found.keys() - known.keys()):
            proof.leak(f"{method.upper()} {path}: nobody has said who may call it, so it was not looked at")
        for problem in gaps(schema):
            if " has a row but no route" in problem:
                self.report.not_seen(f"{problem.partition(' has a row')[0]}: this service has no such operation")
            elif " has no row" not in problem:
                proof.leak(problem)
        return [(known[key], found[key]) for key in known if key in found]

    async def _choose_model(self, world: World) -> None:
        """For who names none: few and short messages, which are billed as any."""
        for tenant in (world.asking, world.other):
            if self.model:
                body, caller = {"default_model": self.model}, Caller("admin", {}, tenant.admin)
                answer = await world.send("PATCH", f"/tenants/{tenant.id}", caller, json=body)
                if answer.status_code != 200:
                    raise NotVerified(f"--model {self.model}: {said(answer)}")
        world.model = self.model or await default_model(self.wire, world.asking, "")
        self.progress.say(f"About a dozen short messages are answered by {world.model}, and billed as any.")

    async def _settle(self, world: World) -> None:
        """Until what was begun has ended: what changes later was changed by somebody."""
        paths = {
            "document": "/documents/{}", "read_document": "/documents/{}", "running_message": "/messages/{}",
            "running_response": "/v1/responses/{}",
        }  # fmt: skip
        proof = self.report.proof("What was begun comes to its end: documents are read, messages answered")
        ends = time.monotonic() + SETTLING_SECONDS
        for kind, path in paths.items():
            if (made := world.theirs.get(kind)) is None:
                continue
            proof.tried += 1
            self.progress.tell(f"waiting for the other's {kind.replace('_', ' ')}")
            while True:
                answer = await world.send("GET", path.format(made), Caller("admin", {}, world.other.admin))
                if answer.status_code == 200 and answer.json().get("status") not in (*UNSETTLED, "in_progress"):
                    break
                if time.monotonic() > ends:
                    proof.failure(f"{kind.replace('_', ' ')}: not after {SETTLING_SECONDS:g} s")
                    break
                await asyncio.sleep(LOOK_SECONDS)

    async def look_at_catalogs(self) -> None:
        """Of each database that is to be had from here."""
        for site in self.sites:
            self.progress.tell(f"catalog{site.name}")
            await look_at_catalog(site, self.report)
        self._of_catalog = list(self.report.proofs)
        if not self.sites:
            none_to_look_at(self.report)

    async def look_at_rows(self, asking: Tenant, other: Tenant) -> None:
        """Of the database that is the service's; raises `NotVerified`."""
        homes = [site for site in self.sites if await is_of(site, asking.id)]
        if self.sites and not homes:
            self.report.not_seen("the service's own database: DATABASE_URL leads to another than it uses")
            # What was said of that one is of nobody's interest.
            self.report.proofs = [proof for proof in self.report.proofs if proof not in self._of_catalog]
        for site in homes:
            self.progress.tell("row-level security at work")
            await look_at_rows(site, asking.id, other.id, self.report)

    async def _look_at_service(self, world: World) -> None:
        before = await all_that_the_other_has(world)
        visits = sum(1 for _, wanted, _ in VISITS for _ in world.those(wanted))
        self.progress.expect(visits + len(WAYS) + len(BOTH_WRITE))
        for title, wanted, visit in VISITS:
            proof = self.report.proof(title)
            for operation, described_as in world.those(wanted):
                self.progress.step(operation.name)
                await visit(world, proof, operation, described_as)
        await self._go(world, WAYS)
        untouched = self.report.proof("Nothing of the other tenant's has changed by all this")
        untouched.tried = len(before)
        changed = set(before) ^ set(await all_that_the_other_has(world))
        for line in sorted(changed):
            untouched.leak(f"changed: {line[:LINE]}")
        await self._go(world, BOTH_WRITE)
        self._name_what_was_not_called(world)

    async def _go(self, world: World, ways: dict[str, Way]) -> None:
        for title, way in ways.items():
            self.progress.step(title)
            await way(world, self.report.proof(title))

    def _name_what_was_not_called(self, world: World) -> None:
        for operation, _ in world.rows:
            asks_a_model = operation.method == "post" and operation.path in GENERATING
            if closed(operation) and operation.name not in self.report.called and not asks_a_model:
                self.report.not_called.append(operation.name)
