"""The report as one page to read: no script, nothing from elsewhere, light and dark as the reader has it."""

from html import escape

from app.verification.report import Proof, Report

HEADLINES = {
    "holds": "Isolation holds",
    "leak": "A leak was found",
    "not verified": "It could not be verified",
}
STYLE = """
:root { color-scheme: light dark; --line: #8884; --ok: #187a3d; --leak: #c0182b; --open: #9a6700 }
@media (prefers-color-scheme: dark) { :root { --ok: #4cc774; --leak: #ff6b76; --open: #e3b341 } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem .4rem 0; border-bottom: 1px solid var(--line) }
td.count { text-align: right; font-variant-numeric: tabular-nums }
ul { margin: .3rem 0; padding-left: 1.2rem; overflow-wrap: anywhere }
.ok { color: var(--ok) } .leak { color: var(--leak) } .open { color: var(--open) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem } dd { margin: 0; overflow-wrap: anywhere }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page_of(report: Report) -> str:
    """A whole HTML document."""
    verdict = report.verdict
    kind = {"holds": "ok", "leak": "leak", "not verified": "open"}[verdict]
    facts = {
        "Service": report.url,
        "Begun": report.began_at,
        "Took": f"{report.seconds:.1f} s, of which {report.waited_seconds:.0f} s were waits for limits",
        "Requests": f"{report.requests}, to {report.operations} operations",
        "Messages to a model": str(report.messages),
        "Verified by": f"version {report.version}",
    }
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f'<meta http-equiv=Content-Security-Policy content="{POLICY}">',
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>{escape(HEADLINES[verdict])}</title><style>{STYLE}</style>",
        f"<h1 class={kind}>{escape(HEADLINES[verdict])}</h1>",
        f"<p>{escape(report.gave_up)}</p>" if report.gave_up else "",
        "<dl>" + "".join(f"<dt>{escape(name)}<dd>{escape(value)}" for name, value in facts.items()) + "</dl>",
        "<h2>What must hold</h2><table><tr><th>Rule<th>Result<th>Tries",
        *(_row(proof) for proof in report.proofs),
        "</table>",
        _list("What this run could not see", report.unseen),
        _list("Operations that take no id and were not called", report.not_called),
        "</html>",
    ]
    return "\n".join(filter(None, parts)) + "\n"


def _row(proof: Proof) -> str:
    word, kind = ("LEAK", "leak") if proof.found else ("not tried", "open") if proof.failed else ("holds", "ok")
    said = "".join(f"<li>{escape(what)}" for what in [*proof.found, *proof.failed])
    details = f"<ul>{said}</ul>" if said else ""
    return f"<tr><td>{escape(proof.title)}{details}<td class={kind}>{word}<td class=count>{proof.tried}"


def _list(title: str, items: list[str]) -> str:
    if not items:
        return ""
    return f"<h2>{escape(title)}</h2><ul>" + "".join(f"<li>{escape(item)}" for item in items) + "</ul>"
