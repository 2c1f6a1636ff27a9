// One person: role, whether it may come in, what it may spend and did, and its end.
import { html, useState } from '../vendor/preact-htm.js';
import { compact, count, money, since, time } from '../format.js';
import { href, navigate } from '../router.js';
import { Badge, Button, ButtonLink, Card, Confirm, Copy, Empty, Facts, Failure, Figure, Loading, PageHead, announce, useAction, useLoad } from '../ui/index.js';
import { Budgets } from './spending.js';

/** `found`: who is being looked for, as `useLoad` has it; null: there is nobody. */
export function Person({ api, me, found }) {
  const user = found.data;
  const messages = user && html`<${ButtonLink} icon="messages" href=${href('messages', '', { user_id: user.id })}>Messages</${ButtonLink}>`;
  return html`<${PageHead} title=${user?.email ?? 'Person'} note=${html`<a href=${href('people')}>All people</a>`}>${messages}</${PageHead}>
    <${Failure} problem=${found.problem} onRetry=${found.reload} />
    ${found.loading && !user && html`<${Loading} />`}
    ${user === null && html`<${Empty} title="There is no such person">It was deleted, or never was in this tenant.</${Empty}>`}
    ${user && html`<div class="stack"><div class="columns"><${Access} api=${api} me=${me} user=${user} onChange=${found.set} /><${Used} api=${api} user=${user} /></div>
      <${Card} title="What ${user.id === me.id ? 'you' : 'this person'} may spend" note="Beside the tenant's budgets: a message needs room in both.">
        <${Budgets} api=${api} path="admin/users/${user.id}/budget" whose=${user.email} /></${Card}></div>`}`;
}

function Access({ api, me, user, onChange }) {
  const [asked, ask] = useState('');
  const change = async (changes, told) => {
    onChange(await api.patch(`admin/users/${user.id}`, changes));
    announce(told);
  };
  const [enable, enabling, problem] = useAction(() => change({ disabled: false }, `${user.email} may come in again`));
  return html`<${Card} title="Access" note=${user.id === me.id ? 'This is you.' : ''}><${Facts} rows=${[
      ['Role', user.role], ['May come in', user.disabled_at ? html`<${Badge} kind="bad">no</${Badge}> since ${time(user.disabled_at)}` : 'yes'],
      ['Joined', html`<span title=${time(user.created_at)}>${since(user.created_at)}</span>`], ['Id', html`<${Copy} text=${user.id} />`],
    ]} /><${Failure} problem=${problem} />
    <div class="actions spaced"><${Button} onClick=${() => ask('role')}>Make ${user.role === 'admin' ? 'a user' : 'an admin'}</${Button}>
      ${user.disabled_at ? html`<${Button} busy=${enabling} onClick=${enable}>Let in again</${Button}>` : html`<${Button} onClick=${() => ask('disable')}>Disable</${Button}>`}
      <${Button} kind="danger" icon="bin" onClick=${() => ask('delete')}>Delete</${Button}></div>
    <${Asked} api=${api} user=${user} asked=${asked} change=${change} onClose=${() => ask('')} /></${Card}>`;
}

/** What is asked before it is done. */
function Asked({ api, user, asked, change, onClose }) {
  const [role, words] = user.role === 'admin' ? ['user', 'a user'] : ['admin', 'an admin'];
  const remove = async () => {
    await api.del(`admin/users/${user.id}`);
    announce(`${user.email} is deleted`);
  };
  const removed = (done) => {
    onClose();
    if (done) navigate(href('people'));
  };
  if (asked === 'role') {
    return html`<${Confirm} title="Make ${user.email} ${words}?" action="Change the role" act=${() => change({ role }, `${user.email} is ${words} now`)} onClose=${onClose}>
      <p>${role === 'admin' ? 'Admins see all messages, people and keys of the tenant, change its budgets and settings, and may erase it.'
        : 'Its invites end, and its keys with the scope admin. It sees what users see.'} It signs in again.</p></${Confirm}>`;
  }
  if (asked === 'disable') {
    return html`<${Confirm} title="Disable ${user.email}?" action="Disable" act=${() => change({ disabled: true }, `${user.email} is disabled`)} onClose=${onClose}>
      <p>Its sessions, keys and invites end at once, for good. Messages and documents stay, and it can be let in again.</p></${Confirm}>`;
  }
  return asked === 'delete' && html`<${Confirm} title="Delete this person?" name=${user.email} action="Delete for good" act=${remove} onClose=${removed}>
    <p>Its messages, conversations, documents and keys are deleted with it. What was used stays in the usage, without a name.</p></${Confirm}>`;
}

/** What it used this month. */
function Used({ api, user }) {
  const usage = useLoad(({ signal }) => api.get('usage', { group_by: 'user' }, { signal }), [user.id]);
  const row = usage.data?.find((one) => one.key === user.id);
  const sums = row ?? { messages: 0, input_tokens: 0, output_tokens: 0, cost_micro_usd: 0, cache_hits: 0 };
  if (usage.problem) return html`<${Card} title="This month"><${Failure} problem=${usage.problem} onRetry=${usage.reload} /></${Card}>`;
  return html`<${Card} title="This month" note="In UTC, as everything that is billed."><dl class="figures">
    <${Figure} label="Cost">${usage.data ? money(sums.cost_micro_usd) : '…'}</${Figure}>
    <${Figure} label="Messages" note="${count(sums.cache_hits)} from kept answers">${usage.data ? count(sums.messages) : '…'}</${Figure}>
    <${Figure} label="Tokens" note="${compact(sums.input_tokens)} in, ${compact(sums.output_tokens)} out">${usage.data ? compact(sums.input_tokens + sums.output_tokens) : '…'}</${Figure}></dl></${Card}>`;
}
