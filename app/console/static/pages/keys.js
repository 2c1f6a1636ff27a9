// API keys: machines that act as a person, within what their scopes, models and budgets allow.
import { html, useState } from '../vendor/preact-htm.js';
import { since, time } from '../format.js';
import { href } from '../router.js';
import { Badge, Button, Card, Empty, PageHead, Table, useList, useLoad } from '../ui/index.js';
import { useNames } from '../people.js';
import { Create, Shown } from './key-dialogs.js';
import { Key } from './key.js';
import { Spent } from './spending.js';

export default function Keys({ api, me, route }) {
  return route.id ? html`<${One} key=${route.id} api=${api} me=${me} id=${route.id} />` : html`<${List} api=${api} me=${me} />`;
}

function List({ api, me }) {
  const list = useList('api-keys');
  const names = useNames(api, me);
  const [open, setOpen] = useState(false);
  const [made, setMade] = useState(null);
  const isAdmin = me.role === 'admin';
  const columns = [
    { title: 'Name', cell: (row) => html`${row.name} <code class="muted">${row.prefix}…</code>` },
    isAdmin && { title: 'Of', width: '14rem', wide: true, cell: (row) => names(row.user_id) },
    { title: 'May', width: '8rem', wide: true, cell: (row) => row.scopes.map((scope) => scope.replace('messages:', '')).join(', ') },
    { title: 'Last used', width: '8rem', cell: (row) => (row.last_used_at ? since(row.last_used_at) : 'never') },
    { title: 'Ends', width: '8.5rem', wide: true, cell: (row) => html`<${Ends} row=${row} />` },
    isAdmin && { title: 'Spent this month', width: '11.5rem', end: true, wide: true, cell: (row) => html`<${Spent} api=${api} path="admin/api-keys/${row.id}/budget" />` },
  ].filter(Boolean);
  const create = html`<${Button} kind="primary" icon="plus" onClick=${() => setOpen(true)}>Create a key</${Button}>`;
  const none = html`<${Card}><${Empty} title="There are no API keys yet" action=${create}>A program sends one in the place of an access token. It is shown once.</${Empty}></${Card}>`;
  const done = (key) => {
    setOpen(false);
    if (!key) return;
    const { key: secret, ...row } = key;
    list.put(row);
    setMade({ row, secret });
  };
  return html`<${PageHead} title="API keys" note=${isAdmin ? 'All of the tenant.' : 'Yours.'}>${list.rows.length > 0 && create}</${PageHead}>
    <${Table} label="API keys" columns=${columns} list=${list} href=${(row) => href('keys', row.id)} empty=${none} />
    ${open && html`<${Create} api=${api} me=${me} onClose=${done} />`}
    ${made && html`<${Shown} made=${made} onClose=${() => setMade(null)} />`}`;
}

function Ends({ row }) {
  if (!row.expires_at) return 'never';
  const left = new Date(row.expires_at) - Date.now();
  const said = html`<span title=${time(row.expires_at)}>${since(row.expires_at)}</span>`;
  if (left <= 0) return html`<${Badge} kind="bad">over</${Badge}>`;
  return left < 7 * 86_400_000 ? html`<${Badge} kind="warn">${said}</${Badge}>` : said;
}

/** One of them, which is looked for in the list: the interface has no address of a key. */
function One({ api, me, id }) {
  const found = useLoad(async ({ signal }) => {
    const pages = api.paged('api-keys', { limit: 100 });
    for (let more = true; more;) {
      const page = await pages.next(signal);
      const row = page.rows.find((one) => one.id === id);
      if (row) return row;
      more = page.more;
    }
    return null;
  }, [id]);
  return html`<${Key} api=${api} me=${me} found=${found} />`;
}
