// The people of the tenant and who is invited. One of them: role, budget, and whether it may come in.
import { html, useState } from '../vendor/preact-htm.js';
import { since, time } from '../format.js';
import { href, navigate } from '../router.js';
import { Badge, Button, Card, Confirm, Empty, PageHead, Table, Tabs, announce, useList, useLoad } from '../ui/index.js';
import { findUser } from '../people.js';
import { Add, Invite, Invited } from './people-dialogs.js';
import { Person } from './person.js';
import { Spent } from './spending.js';

const TABS = [{ id: 'people', label: 'People' }, { id: 'invites', label: 'Invites' }];

export default function PeoplePage({ api, me, route }) {
  if (route.id && route.id !== 'invites') return html`<${One} key=${route.id} api=${api} me=${me} id=${route.id} />`;
  const tab = route.id || 'people';
  return html`<${Lists} key=${tab} api=${api} me=${me} tab=${tab} />`;
}

function Lists({ api, me, tab }) {
  const path = tab === 'invites' ? 'admin/invites' : `tenants/${me.tenant_id}/users`;
  const list = useList(path);
  const [open, setOpen] = useState('');
  const [invited, setInvited] = useState(null);
  const wasInvited = (invite) => {
    setOpen('');
    if (!invite) return;
    setInvited(invite);
    if (tab === 'invites') list.put(invite);
  };
  const wasAdded = (user) => {
    setOpen('');
    if (user && tab === 'people') list.put(user);
  };
  return html`<${PageHead} title="People"><${Button} kind="primary" icon="plus" onClick=${() => setOpen('invite')}>Invite</${Button}>
      <${Button} onClick=${() => setOpen('add')}>Add with a password</${Button}></${PageHead}>
    <${Tabs} label="People and invites" tabs=${TABS} current=${tab} onChange=${(id) => navigate(href('people', id === 'people' ? '' : id))} />
    ${tab === 'people' ? html`<${People} api=${api} me=${me} list=${list} />` : html`<${Invites} api=${api} list=${list} onInvite=${() => setOpen('invite')} />`}
    ${open === 'invite' && html`<${Invite} api=${api} onClose=${wasInvited} />`}
    ${open === 'add' && html`<${Add} api=${api} onClose=${wasAdded} />`}
    ${invited && html`<${Invited} invite=${invited} onClose=${() => setInvited(null)} />`}`;
}

function People({ api, me, list }) {
  const columns = [
    { title: 'Email', cell: (row) => html`${row.email}${row.id === me.id && html` <span class="muted">(you)</span>`}` },
    { title: 'Role', width: '8rem', cell: (row) => html`<${Standing} user=${row} />` },
    { title: 'Spent this month', width: '11rem', end: true, wide: true, cell: (row) => html`<${Spent} api=${api} path="admin/users/${row.id}/budget" />` },
    { title: 'Since', width: '11rem', wide: true, cell: (row) => html`<span title=${time(row.created_at)}>${since(row.created_at)}</span>` },
  ];
  return html`<${Table} label="People" columns=${columns} list=${list} href=${(row) => href('people', row.id)} />`;
}

function Standing({ user }) {
  if (user.disabled_at) return html`<${Badge} kind="bad">disabled</${Badge}>`;
  return user.role === 'admin' ? html`<strong>admin</strong>` : 'user';
}

function Invites({ api, list, onInvite }) {
  const [asked, ask] = useState(null);
  const withdraw = async () => {
    await api.del(`admin/invites/${asked.id}`);
    list.drop(asked.id);
    announce(`The invite of ${asked.email} is withdrawn`);
  };
  const columns = [
    { title: 'Email', cell: (row) => row.email },
    { title: 'Ends', width: '8rem', cell: (row) => html`<span title=${time(row.expires_at)}>${since(row.expires_at)}</span>` },
    { title: 'Made', width: '10rem', wide: true, cell: (row) => html`<span title=${time(row.created_at)}>${since(row.created_at)}</span>` },
    { title: '', width: '4rem', end: true, cell: (row) => html`<${Button} kind="quiet small" icon="bin" label="Withdraw the invite of ${row.email}" onClick=${() => ask(row)} />` },
  ];
  const invite = html`<${Button} kind="primary" icon="plus" onClick=${onInvite}>Invite</${Button}>`;
  const none = html`<${Card}><${Empty} title="Nobody is invited" action=${invite}>An invite lets one email register, once. You get the link and hand it on; no mail is sent.</${Empty}></${Card}>`;
  return html`<${Table} label="Open invites" columns=${columns} list=${list} empty=${none} />
    ${asked && html`<${Confirm} title="Withdraw the invite?" action="Withdraw it" act=${withdraw} onClose=${() => ask(null)}>
      <p>The link that <strong>${asked.email}</strong> got opens nothing any more.</p></${Confirm}>`}`;
}

function One({ api, me, id }) {
  const found = useLoad(({ signal }) => findUser(api, me, id, signal), [id]);
  return html`<${Person} api=${api} me=${me} found=${found} />`;
}
