// Budgets of the tenant, its people and keys, and what the models cost. Users see the models that they may ask for.
import { html, useState } from '../vendor/preact-htm.js';
import { compact, money } from '../format.js';
import { href } from '../router.js';
import { Badge, Card, Empty, PageHead, Table, Tabs, useList, useLoad, whole } from '../ui/index.js';
import { useNames } from '../people.js';
import { Budgets, Spent } from './spending.js';

export default function BudgetsAndPrices({ api, me }) {
  if (me.role !== 'admin') {
    return html`<${PageHead} title="Models and prices" note="What you may ask for, and what it costs." /><${Models} api=${api} />`;
  }
  return html`<${PageHead} title="Budgets and prices" note="A message needs room in all budgets that it falls under: the tenant's, its user's, and its key's." />
    <div class="stack"><${Card} title="The tenant"><${Budgets} api=${api} path="admin/budget" whose="the tenant" /><${Alerts} api=${api} me=${me} /></${Card}>
      <${Holders} api=${api} me=${me} /><section><h2 class="above-table">Models</h2><${Models} api=${api} /></section></div>`;
}

function Alerts({ api, me }) {
  const tenant = useLoad(({ signal }) => api.get(`tenants/${me.tenant_id}`, {}, { signal }), [me.tenant_id]);
  if (!tenant.data) return null;
  const url = tenant.data.event_webhook_url;
  const settings = html`<a href=${href('settings')}>Settings</a>`;
  return html`<p class="muted small">${url ? html`At 50, 80 and 100 % of a budget <code>${url}</code> is told, once in its period.` : html`Nobody is told when a budget runs out: ${settings} take an address.`}</p>`;
}

function Holders({ api, me }) {
  const [tab, open] = useState('people');
  const tabs = [{ id: 'people', label: 'People' }, { id: 'keys', label: 'API keys' }];
  return html`<section><${Tabs} label="Whose budgets" tabs=${tabs} current=${tab} onChange=${open} />
    ${tab === 'people' ? html`<${People} api=${api} me=${me} />` : html`<${Keys} api=${api} me=${me} />`}</section>`;
}

function People({ api, me }) {
  const list = useList(`tenants/${me.tenant_id}/users`);
  const columns = [
    { title: 'Person', cell: (row) => row.email },
    { title: 'Role', width: '6rem', wide: true, cell: (row) => row.role },
    { title: 'Spent this month', width: '12rem', end: true, cell: (row) => html`<${Spent} api=${api} path="admin/users/${row.id}/budget" />` },
  ];
  return html`<${Table} label="People and what they spent" columns=${columns} list=${list} href=${(row) => href('people', row.id)} />`;
}

function Keys({ api, me }) {
  const names = useNames(api, me);
  const columns = [
    { title: 'Key', cell: (row) => row.name },
    { title: 'Of', width: '16rem', wide: true, cell: (row) => names(row.user_id) },
    { title: 'Spent this month', width: '12rem', end: true, cell: (row) => html`<${Spent} api=${api} path="admin/api-keys/${row.id}/budget" />` },
  ];
  const none = html`<${Card}><${Empty} title="There are no API keys" action=${html`<a href=${href('keys')}>To the keys</a>`} /></${Card}>`;
  return html`<${Table} label="API keys and what they spent" columns=${columns} list=${useList('api-keys')} href=${(row) => href('keys', row.id)} empty=${none} />`;
}

function Models({ api }) {
  const models = useLoad(({ signal }) => api.get('models', {}, { signal }));
  const columns = [
    { title: 'Model', width: '15rem', cell: (row) => html`${row.id}${row.default && html` <${Badge} kind="good">default</${Badge}>`}` },
    { title: 'What it is', wide: true, cell: (row) => html`<span title=${row.description}>${row.description || row.capabilities.join(', ')}</span>` },
    { title: 'Reads', width: '6rem', end: true, wide: true, cell: (row) => compact(row.context_tokens) },
    { title: 'Writes', width: '6rem', end: true, wide: true, cell: (row) => compact(row.max_output_tokens) },
    { title: 'Input', width: '6.5rem', end: true, cell: (row) => price(row, 'input') },
    { title: 'Kept input', width: '6.5rem', end: true, wide: true, cell: (row) => price(row, 'cached') },
    { title: 'Output', width: '6.5rem', end: true, cell: (row) => price(row, 'output') },
  ];
  const none = html`<${Card}><${Empty} title="There is no model that you may ask for">An admin of the tenant says which models are allowed.</${Empty}></${Card}>`;
  return html`<${Table} label="Models and their prices" columns=${columns} list=${whole(models.data, models)} empty=${none} />
    <p class="muted small below-table">Prices for a million tokens, of the dearest place that answers under the name. Reads and writes: tokens at most.</p>`;
}

function price({ price: known }, kind) {
  if (!known) return 'unknown';
  const asked = known[kind] ?? known.input;
  const more = known.tiers?.at(-1)?.[kind];
  return more ? html`<span title="Of long inputs up to ${money(more)}">${money(asked)}+</span>` : money(asked);
}
