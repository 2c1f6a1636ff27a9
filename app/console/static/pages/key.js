// One API key: what it may do, what it spent; rotated and revoked here.
import { html, useState } from '../vendor/preact-htm.js';
import { since, time } from '../format.js';
import { href, navigate } from '../router.js';
import { Button, Card, Confirm, Copy, Empty, Facts, Failure, Loading, PageHead, announce } from '../ui/index.js';
import { useNames } from '../people.js';
import { Rotate, Shown } from './key-dialogs.js';
import { Budgets } from './spending.js';

/** `found`: the key that is being looked for, as `useLoad` has it; null: there is none. */
export function Key({ api, me, found }) {
  const row = found.data;
  const names = useNames(api, me);
  const [asked, ask] = useState('');
  const [made, setMade] = useState(null);
  const isMine = row?.user_id === me.id;
  const rotated = (key) => {
    ask('');
    if (!key) return;
    const { key: secret, ...fresh } = key;
    setMade({ row: fresh, secret, before: row });
  };
  const revoked = (done) => {
    ask('');
    if (done) navigate(href('keys'));
  };
  const revoke = async () => {
    await api.del(`api-keys/${row.id}`);
    announce(`${row.name} is revoked`);
  };
  return html`<${PageHead} title=${row?.name ?? 'API key'} note=${html`<a href=${href('keys')}>All keys</a>`}>
      ${isMine && html`<${Button} icon="retry" onClick=${() => ask('rotate')}>Rotate</${Button}>`}
      ${row && html`<${Button} kind="danger" icon="bin" onClick=${() => ask('revoke')}>Revoke</${Button}>`}</${PageHead}>
    <${Failure} problem=${found.problem} onRetry=${found.reload} />
    ${found.loading && !row && html`<${Loading} />`}
    ${row === null && html`<${Empty} title="There is no such key">It was revoked, or it is not yours.</${Empty}>`}
    ${row && html`<${About} api=${api} me=${me} row=${row} names=${names} />`}
    ${asked === 'rotate' && html`<${Rotate} api=${api} row=${row} onClose=${rotated} />`}
    ${asked === 'revoke' && html`<${Confirm} title="Revoke ${row.name}" action="Revoke it" act=${revoke} onClose=${revoked}>
      <p>Whatever uses it is refused from the next request on. This cannot be undone; to replace it without a gap, rotate it.</p></${Confirm}>`}
    ${made && html`<${Shown} made=${made} onClose=${() => { setMade(null); navigate(href('keys', made.row.id)); }} />`}`;
}

function About({ api, me, row, names }) {
  return html`<div class="stack"><${Card} title="What it may do"><${Facts} rows=${[
    ['Begins with', html`<code>${row.prefix}…</code>`], ['Acts as', names(row.user_id)],
    ['Scopes', row.scopes.map((scope) => html`<code>${scope}</code> `)],
    ['Models', row.allowed_models === null ? 'all that its tenant allows' : row.allowed_models.join(', ') || 'none'],
    ['Last used', row.last_used_at ? html`<span title=${time(row.last_used_at)}>${since(row.last_used_at)}</span>` : 'never'],
    ['Ends', row.expires_at ? `${time(row.expires_at)} (${since(row.expires_at)})` : 'never'],
    ['Made', time(row.created_at)], ['Id', html`<${Copy} text=${row.id} />`],
    ]} /></${Card}>
    ${me.role === 'admin' && html`<${Card} title="What it may spend" note="Beside its user's and the tenant's budgets; it goes on in the keys that take its place.">
    <${Budgets} api=${api} path="admin/api-keys/${row.id}/budget" whose=${row.name} /></${Card}>`}</div>`;
}
