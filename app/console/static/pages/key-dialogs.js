// Making a key, rotating it, and showing it: once.
import { html, useState } from '../vendor/preact-htm.js';
import { micro, time } from '../format.js';
import { Button, Copy, Dialog, Field, Form, announce, errorOf, useAction, useLoad } from '../ui/index.js';

const SCOPES = [
  ['messages:write', 'Send messages, upload documents'],
  ['messages:read', 'Read messages, search and read documents'],
  ['admin', 'See what admins see: people, usage, budgets, audit (and change none of it)'],
];
const LIVES = [['', 'Never'], ['7', 'In a week'], ['30', 'In 30 days'], ['90', 'In 90 days'], ['365', 'In a year']];
const DAY_MS = 86_400_000;

/** `onClose(key)` with the new one, or without. */
export function Create({ api, me, onClose }) {
  const [name, setName] = useState('');
  const [scopes, setScopes] = useState(['messages:write', 'messages:read']);
  const [days, setDays] = useState('90');
  const [narrow, setNarrow] = useState(false);
  const [models, setModels] = useState([]);
  const [limit, setLimit] = useState('');
  const isAmount = !Number.isNaN(micro(limit));
  const offered = useLoad(({ signal }) => api.get('models', {}, { signal }));
  const [create, busy, problem] = useAction(async () => {
    const body = { name, scopes };
    if (days) body.expires_at = new Date(Date.now() + Number(days) * DAY_MS).toISOString();
    if (narrow) body.allowed_models = models;
    const made = await api.post('api-keys', body);
    announce(`${made.name} is there`);
    // Whatever comes of its budget: the key is shown now, or never.
    if (limit) await bound(api, made, micro(limit));
    onClose(made);
  });
  return html`<${Dialog} title="Create an API key" onClose=${() => onClose(null)}>
    <${Form} onSubmit=${create} busy=${busy} problem=${problem} action="Create" disabled=${!name.trim() || !scopes.length || !isAmount}>
      <${Field} label="Name" value=${name} onInput=${setName} error=${errorOf(problem, 'name')} hint="What will use it: nightly import" maxlength="255" autocomplete="off" />
      <fieldset><legend>It may</legend>${SCOPES.map(([scope, words]) => html`<${Field} key=${scope} kind="checkbox" value=${scopes.includes(scope)}
        onInput=${toggle(scopes, setScopes, scope)} label=${html`<code>${scope}</code> ${words}`} />`)}</fieldset>
      <${Field} label="It ends" kind="select" options=${LIVES} value=${days} onInput=${setDays} error=${errorOf(problem, 'expires_at')} />
      <fieldset><legend>Models</legend><${Field} kind="checkbox" label="Only some" value=${narrow} onInput=${setNarrow} />
        ${narrow && (offered.data ?? []).map((model) => html`<${Field} key=${model.id} kind="checkbox" label=${model.id} value=${models.includes(model.id)}
          onInput=${toggle(models, setModels, model.id)} />`)}
        ${narrow && !models.length && html`<p class="hint">None is chosen: it will answer nothing.</p>`}</fieldset>
      ${me.role === 'admin' && html`<${Field} label="It may spend, a month" value=${limit} onInput=${setLimit} inputmode="decimal" autocomplete="off"
        error=${isAmount ? null : 'An amount in dollars, with a point: 12.50'} hint="In US dollars; empty: what its user and the tenant may." />`}
    </${Form}></${Dialog}>`;
}

async function bound(api, key, micros) {
  try {
    await api.put(`admin/api-keys/${key.id}/budget`, { limit_micro_usd: micros });
  } catch (problem) {
    announce(`${key.name} has no budget of its own: ${problem.detail}`, 'failed');
  }
}

const toggle = (chosen, choose, one) => (on) => choose(on ? [...chosen, one] : chosen.filter((other) => other !== one));

const OVERLAPS = [['86400', 'For a day'], ['0', 'Not at all: it has leaked'], ['3600', 'For an hour'], ['604800', 'For a week'], ['2592000', 'For 30 days']];

// Also where a page may not ask for a UUID: without HTTPS.
const unguessed = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join('-');

/** `onClose(key)` with what takes its place, or without. */
export function Rotate({ api, row, onClose }) {
  const [overlap, setOverlap] = useState('86400');
  const [once] = useState(unguessed);
  const [rotate, busy, problem] = useAction(async () => {
    // Sent again after a lost answer, it is the same new key.
    const headers = { 'Idempotency-Key': `${once}-${overlap}` };
    onClose(await api.post(`api-keys/${row.id}/rotate`, { overlap_seconds: Number(overlap) }, { headers }));
  });
  return html`<${Dialog} title="Rotate ${row.name}" onClose=${() => onClose(null)}>
    <${Form} onSubmit=${rotate} busy=${busy} problem=${problem} action="Rotate">
      <p class="prose">A new key with the same name, scopes, models, end and budgets. Until the old one ends, both work.</p>
      <${Field} label="The old one goes on" kind="select" options=${OVERLAPS} value=${overlap} onInput=${setOverlap} />
    </${Form}></${Dialog}>`;
}

/** What nobody can show again. */
export function Shown({ made, onClose }) {
  return html`<${Dialog} title=${made.row.name} onClose=${onClose}>
    <div class="stack"><p>This is the key. Put it where it belongs now: only its hash is kept, and nobody can show it again.</p>
      <p class="secret"><${Copy} text=${made.secret} label="Copy the key" /></p>
      ${made.before && html`<p class="muted">The one before goes on as you chose; the list says until when.</p>`}
      ${made.row.expires_at && html`<p class="muted">It ends on ${time(made.row.expires_at)}.</p>`}
      <div class="actions"><${Button} kind="primary" onClick=${onClose}>I have it</${Button}></div></div></${Dialog}>`;
}
