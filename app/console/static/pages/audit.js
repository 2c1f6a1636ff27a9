// The audit log: who did what in the tenant, when and from where. Its filters, and the entry that is open, are in the address.
import { html, useMemo, useState, useEffect } from '../vendor/preact-htm.js';
import { Button, ButtonLink, Copy, Dialog, Empty, Facts, Field, PageHead, Table, useList, useLoad, useSettled } from '../ui/index.js';
import { exactTime, time } from '../format.js';
import { href, navigate } from '../router.js';

export const title = 'Audit';
const ACTIONS = [
  'api_key.created', 'api_key.revoked', 'api_key.rotated', 'audit_log.read', 'budget.set', 'conversation.changed',
  'conversation.deleted', 'document.created', 'document.deleted', 'invite.created', 'invite.revoked', 'login.refused',
  'message.cancelled', 'message.changed', 'message.deleted', 'message.retried', 'provider_key.deleted', 'provider_key.set',
  'request.refused', 'session.begun', 'session.ended', 'session.reuse_detected', 'tenant.changed', 'tenant.created',
  'tenant.exported', 'user.changed', 'user.created', 'user.deleted', 'user.password_changed', 'user.registered',
  'users.read', 'webhook_secret.read', 'webhook_secret.replaced',
];
const KINDS = { user: 'User', api_key: 'API key', operator: 'Operator', anonymous: 'Nobody signed in' };
const IS_ID = /^[0-9a-f-]{36}$/i;

export default function Audit({ api, me, route }) {
  const { action = '', actor_id = '', target_id = '', entry } = Object.fromEntries(route.query);
  const filters = { action, actor_id, target_id };
  const [typed, type] = useState(target_id);
  const settled = useSettled(typed.trim());
  const list = useList('admin/audit-log', filters);
  const people = useLoad(({ signal }) => api.get(`tenants/${me.tenant_id}/users`, { limit: 100 }, { signal }));
  const emails = useMemo(() => new Map((people.data ?? []).map(({ id, email }) => [id, email])), [people.data]);
  const narrow = (change) => navigate(href('audit', '', { ...filters, ...change }), { replace: true });

  useEffect(() => { if (settled !== target_id && (!settled || IS_ID.test(settled))) narrow({ target_id: settled }); }, [settled]);
  useEffect(() => type(target_id), [target_id]);

  const opened = entry && list.rows.find(({ id }) => id === entry);
  const columns = [
    { title: 'When', cell: (row) => time(row.created_at), width: '14rem' },
    { title: 'What', cell: (row) => html`<code>${row.action}</code>` },
    { title: 'Who', cell: (row) => who(row, emails), wide: true },
    { title: 'To', cell: (row) => emails.get(row.target_id) ?? row.target_id ?? '', wide: true },
    { title: 'From', cell: (row) => row.address ?? '', wide: true, width: '9rem' },
    { title: 'Details', cell: (row) => brief(row.details), wide: true },
  ];
  return html`
    <${PageHead} title=${title} note="Who did what in the tenant. Entries are never changed." />
    <div class="filters">
      <${Field} label="Action" kind="select" value=${action} onInput=${(value) => narrow({ action: value })}
        options=${[['', 'All'], ...known(action, list.rows)]} />
      <${Field} label="Who" kind="select" value=${actor_id} onInput=${(value) => narrow({ actor_id: value })}
        options=${[['', 'Everybody'], ...actors(actor_id, emails)]} />
      <${Field} label="To, by its id" value=${typed} onInput=${type} autocomplete="off" spellcheck=${false} maxlength="36"
        error=${settled && !IS_ID.test(settled) && 'That is no id.'} />
    </div>
    <${Table} label="Audit log" columns=${columns} list=${list} href=${(row) => href('audit', '', { ...filters, entry: row.id })}
      empty=${html`<${Nothing} narrowed=${action || actor_id || target_id} />`} />
    ${opened && html`<${Entry} key=${entry} row=${opened} emails=${emails} onClose=${() => narrow({})} />`}`;
}

function Nothing({ narrowed }) {
  if (!narrowed) return html`<${Empty} title="Nothing has happened yet">Signing in, changes of people, keys, budgets and settings will stand here.</${Empty}>`;
  return html`<${Empty} title="No entry is like that" action=${html`<${ButtonLink} href=${href('audit')}>Show all</${ButtonLink}>`} />`;
}

/** All that the log knows of one thing that was done. */
function Entry({ row, emails, onClose }) {
  const others = (filter, id) => id && html`<a href=${href('audit', '', { [filter]: id })}>${emails.get(id) ?? id}</a>`;
  return html`<${Dialog} title=${row.action} onClose=${onClose} wide><div class="stack">
    <${Facts} rows=${[
      ['When', exactTime(row.created_at)],
      ['By', KINDS[row.actor_type] ?? row.actor_type],
      ['Who', others('actor_id', row.actor_id)],
      ['With the key', row.api_key_id],
      ['To', others('target_id', row.target_id)],
      ['From', row.address],
      ['Request', row.request_id && html`<${Copy} text=${row.request_id} />`],
      ["The service's own id of it", row.own_request_id === row.request_id ? null : row.own_request_id],
    ]} />
    ${Object.keys(row.details).length > 0 && html`<div><h3>Details</h3><pre>${JSON.stringify(row.details, null, 2)}</pre></div>`}
    <div class="actions"><${Button} onClick=${onClose}>Close</${Button}></div></div>
  </${Dialog}>`;
}

function who(row, emails) {
  const name = row.actor_id && (emails.get(row.actor_id) ?? row.actor_id);
  if (row.actor_type === 'api_key') return name ? `${name}, by a key` : KINDS.api_key;
  return name ?? KINDS[row.actor_type] ?? row.actor_type;
}

const brief = (details) => Object.entries(details).map(([name, value]) => `${name}: ${typeof value === 'object' ? JSON.stringify(value) : value}`).join(', ');

/** Those that the service writes, and what else is in sight. */
const known = (asked, rows) => [...new Set([...ACTIONS, ...rows.map(({ action }) => action), ...(asked ? [asked] : [])])].sort();

function actors(asked, emails) {
  const found = [...emails].sort((one, other) => one[1].localeCompare(other[1]));
  return asked && !emails.has(asked) ? [...found, [asked, asked]] : found;
}
