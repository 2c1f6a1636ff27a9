// What was asked and answered: all of it, newest first, as it happens; a message on its own has an address of its own.
import { html, useEffect, useState } from '../vendor/preact-htm.js';
import { compact, excerpt, money, since, time } from '../format.js';
import { href, navigate } from '../router.js';
import { Button, ButtonLink, Empty, Field, PageHead, Table, announce, useEvery, useList, useLoad, useSettled } from '../ui/index.js';
import { Message, Status } from './message.js';

const LIVE_MS = 3000;
const HEAD = 20;
// Rows further down that still run are asked for one by one: so many at a time.
const WATCHED = 5;
const STATES = [['', 'Any state'], ['pending', 'Running'], ['completed', 'Completed'], ['failed', 'Failed'], ['cancelled', 'Cancelled']];

export default function Messages({ api, me, route }) {
  return route.id ? html`<${Message} key=${route.id} api=${api} me=${me} id=${route.id} />` : html`<${Sent} api=${api} me=${me} query=${route.query} />`;
}

function Sent({ api, me, query }) {
  const asked = Object.fromEntries(['q', 'status', 'user_id', 'since', 'conversation_id'].map((name) => [name, query.get(name) ?? '']));
  const list = useList('messages', { ...asked, since: asked.since && `${asked.since}T00:00:00Z` });
  const people = usePeople(api, me);
  const [held, letIn] = useLive(api, list, asked);
  const narrow = (change) => navigate(href('messages', '', { ...asked, ...change }), { replace: true });
  const isNarrowed = Object.values(asked).some(Boolean);
  const empty = isNarrowed
    ? html`<${Empty} title="No message fits" action=${html`<${Button} onClick=${() => navigate(href('messages'))}>Show all messages</${Button}>`}>Other words, another state or an earlier day may find it.</${Empty}>`
    : html`<${Empty} title="No messages yet" action=${html`<${ButtonLink} kind="primary" href=${href('try')}>Try it</${ButtonLink}>`}>What you and your colleagues send, here or by the interface, shows up as it happens.</${Empty}>`;
  return html`<${PageHead} title="Messages" note=${asked.conversation_id ? 'Of one conversation.' : 'Newest first, as they come.'}>
      ${held > 0 && html`<${Button} icon="up" onClick=${letIn}>${held} new</${Button}>`}</${PageHead}>
    <${Filters} asked=${asked} people=${me.role === 'admin' && (people ?? [])} narrow=${narrow} isNarrowed=${isNarrowed} />
    <${Table} label="Messages" columns=${columns(me.role === 'admin' && (people ?? []))} list=${list} href=${(row) => href('messages', row.id)} empty=${empty} />`;
}

function Filters({ asked, people, narrow, isNarrowed }) {
  const [words, type] = useState(asked.q);
  const settled = useSettled(words, 400);
  useEffect(() => { if (settled.trim() !== asked.q) narrow({ q: settled.trim() }); }, [settled]);
  useEffect(() => { if (asked.q !== settled.trim()) type(asked.q); }, [asked.q]);
  return html`<form class="filters" role="search" onSubmit=${(event) => { event.preventDefault(); narrow({ q: words.trim() }); }}>
    <div class="field grows"><${Field} label="Search" kind="search" value=${words} onInput=${type} placeholder='Words, "a phrase", begin*, -not' maxlength="500" /></div>
    <${Field} label="State" kind="select" value=${asked.status} options=${STATES} onInput=${(status) => narrow({ status })} />
    ${people && html`<${Field} label="Sent by" kind="select" value=${asked.user_id} options=${[['', 'Anybody'], ...people]} onInput=${(user) => narrow({ user_id: user })} />`}
    <${Field} label="From (UTC)" kind="date" value=${asked.since} onInput=${(day) => narrow({ since: day })} />
    ${isNarrowed && html`<${Button} kind="quiet" onClick=${() => narrow({ q: '', status: '', user_id: '', since: '', conversation_id: '' })}>Clear</${Button}>`}</form>`;
}

function columns(people) {
  const names = new Map(people || []);
  return [
    { title: 'Prompt', cell: (row) => (row.stored ? excerpt(row.content) || '(no text)' : 'Not kept') },
    { title: 'State', width: '9.2rem', cell: (row) => html`<${Status} message=${row} />` },
    people && { title: 'Sent by', width: '12rem', wide: true, cell: (row) => names.get(row.user_id) ?? (names.size ? row.user_id.slice(0, 8) : '') },
    { title: 'Model', width: '9rem', wide: true, cell: (row) => row.model ?? '' },
    { title: 'Tokens', width: '5.8rem', end: true, wide: true, cell: (row) => compact((row.input_tokens ?? 0) + (row.output_tokens ?? 0)) },
    { title: 'Cost', width: '7.2rem', end: true, wide: true, cell: (row) => money(row.cost_micro_usd) },
    { title: 'Sent', width: '8.4rem', end: true, wide: true, cell: (row) => html`<time datetime=${row.created_at} title=${time(row.created_at)}>${since(row.created_at)}</time>` },
  ].filter(Boolean);
}

/** Ids and emails for who may see them: the newest hundred; a name that is not among them is shown by its id. */
function usePeople(api, me) {
  const people = useLoad(async ({ signal }) => {
    if (me.role !== 'admin') return null;
    return (await api.get(`tenants/${me.tenant_id}/users`, { limit: 100 }, { signal })).map((user) => [user.id, user.email]);
  }, [me.id]);
  return people.data;
}

/**
 * What came since the list was read: shown at once while its top is in sight; else `[held, letIn]` says how many wait.
 * What runs is looked at again until it has ended.
 */
function useLive(api, list, asked) {
  const [held, setHeld] = useState(0);
  useEffect(() => setHeld(0), [list.rows.length === 0]);
  // A search costs the database more than a look: it is made once.
  useEvery(asked.q ? 0 : LIVE_MS, async () => {
    if (list.loading || list.problem) return;
    const query = { ...asked, since: asked.since && `${asked.since}T00:00:00Z`, limit: HEAD };
    const head = await api.get('messages', query);
    const known = new Set(list.rows.map((row) => row.id));
    const fresh = head.filter((row) => !known.has(row.id));
    for (const row of head) if (known.has(row.id)) list.put(row);
    const seen = new Set(head.map((row) => row.id));
    const running = list.rows.filter((row) => row.status === 'pending' && !seen.has(row.id)).slice(0, WATCHED);
    for (const row of await Promise.all(running.map((one) => api.get(`messages/${one.id}`).catch(() => null)))) if (row) list.put(row);
    if (!fresh.length) return;
    if (fresh.length === HEAD || scrollY > 120) setHeld(fresh.length);
    else for (const row of fresh.toReversed()) list.put(row);
  });
  const letIn = () => {
    scrollTo(0, 0);
    list.reload();
    announce('The newest messages are shown');
  };
  return [held, letIn];
}
