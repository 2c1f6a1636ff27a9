// What somebody may spend in a month, a week and a day, and has: the tenant, a user or an API key.
import { html, useEffect, useState } from '../vendor/preact-htm.js';
import { NONE, dollars, micro, money, percent, since } from '../format.js';
import { Badge, Button, Dialog, Failure, Field, Form, Loading, Meter, announce, useAction, useLoad } from '../ui/index.js';

const PERIODS = [['month', 'This month'], ['week', 'This week'], ['day', 'Today']];
// The thresholds that the service tells of.
const NEAR = 0.8;
const HALF = 0.5;
const MOST = 2 ** 53 - 1;

/** The limit that holds, in micro-USD, or null. */
export function limitOf(budget) {
  const both = [budget.limit_micro_usd, budget.ceiling_micro_usd].filter((one) => one !== null);
  return both.length ? Math.min(...both) : null;
}

const partOf = (budget, limit) => (limit === 0 ? 1 : budget.spent_micro_usd / limit);
const kindOf = (part) => (part >= 1 ? 'bad' : part >= NEAR ? 'warn' : '');

/** Its budgets of every period, each with what was spent; `path` is their address in the interface. */
export function Budgets({ api, path, whose }) {
  const budgets = useLoad(({ signal }) => Promise.all(PERIODS.map(([period]) => api.get(path, { period }, { signal }))), [path]);
  const [changing, change] = useState(null);
  const done = (budget) => {
    change(null);
    if (budget) budgets.set(budgets.data.map((one) => (one.period === budget.period ? budget : one)));
  };
  if (budgets.problem) return html`<${Failure} problem=${budgets.problem} onRetry=${budgets.reload} />`;
  if (!budgets.data) return html`<${Loading} />`;
  return html`<div class="periods">${budgets.data.map((budget, at) => html`<${Period} key=${budget.period} title=${PERIODS[at][1]} budget=${budget}
      onChange=${() => change(budget)} />`)}</div>
    ${changing && html`<${Limit} api=${api} path=${path} whose=${whose} budget=${changing} onClose=${done} />`}`;
}

function Period({ title, budget, onChange }) {
  const limit = limitOf(budget);
  const part = limit === null ? 0 : partOf(budget, limit);
  const held = budget.reserved_micro_usd > 0 && html`<span>${money(budget.reserved_micro_usd)} set aside</span>`;
  return html`<section class="period" aria-label=${title}>
    <header><h3>${title}</h3><${Reached} part=${limit === null ? null : part} /></header>
    <p class="sum"><strong>${money(budget.spent_micro_usd)}</strong> <span class="muted">${limit === null ? 'without a limit' : `of ${money(limit)}`}</span></p>
    ${limit !== null && html`<${Meter} part=${part} label="${title}: spent of the budget" kind=${kindOf(part)} />`}
    <p class="muted small">${limit !== null && html`<span>${percent(part)}</span>`}${held}<span>anew ${since(budget.resets_at)}</span></p>
    ${budget.ceiling_micro_usd !== null && html`<p class="muted small">The operator's ceiling: ${money(budget.ceiling_micro_usd)}</p>`}
    <p><${Button} onClick=${onChange}>${budget.limit_micro_usd === null ? 'Set a limit' : 'Change the limit'}</${Button}></p></section>`;
}

/** How far it is used, in words. */
function Reached({ part }) {
  if (part === null) return null;
  if (part >= 1) return html`<${Badge} kind="bad">used up</${Badge}>`;
  if (part >= NEAR) return html`<${Badge} kind="warn">over 80 %</${Badge}>`;
  return part >= HALF ? html`<${Badge}>over 50 %</${Badge}>` : html`<${Badge} kind="good">within</${Badge}>`;
}

const OF = { month: 'a month', week: 'a week', day: 'a day' };

function Limit({ api, path, whose, budget, onClose }) {
  const [typed, type] = useState(dollars(budget.limit_micro_usd));
  const wanted = micro(typed);
  const wrong = Number.isNaN(wanted) || wanted > MOST ? 'An amount in dollars, with a point: 12.50' : null;
  const [save, busy, problem] = useAction(async () => {
    const set = await api.put(path, { limit_micro_usd: wanted, period: budget.period });
    forget(path);
    announce(wanted === null ? 'There is no limit any more' : `The limit is ${money(wanted)} ${OF[budget.period]}`);
    onClose(set);
  });
  return html`<${Dialog} title="What ${whose} may spend ${OF[budget.period]}" onClose=${() => onClose(null)}>
    <${Form} onSubmit=${save} busy=${busy} problem=${problem} disabled=${Boolean(wrong)}>
      <${Field} label="Limit in US dollars" value=${typed} onInput=${type} error=${wrong} inputmode="decimal" autocomplete="off"
        hint="Empty: no limit. 0: nothing that costs. A message that it does not cover is refused before a model is asked." />
    </${Form}></${Dialog}>`;
}

// Of rows that have come into sight; a table shows them again as one scrolls.
const seen = new Map();
const forget = (path) => seen.delete(path);

/** What was spent this month, for a row of a table: asked for when the row comes into sight. */
export function Spent({ api, path }) {
  const [budget, show] = useState(seen.get(path));
  useEffect(() => {
    const stop = new AbortController();
    api.get(path, {}, { signal: stop.signal }).then((found) => {
      seen.set(path, found);
      if (!stop.signal.aborted) show(found);
    }, () => { if (!stop.signal.aborted) show(null); });
    return () => stop.abort();
  }, [path]);
  if (!budget) return html`<span class="muted">${budget === null ? NONE : '…'}</span>`;
  const limit = limitOf(budget);
  const part = limit === null ? 0 : partOf(budget, limit);
  return html`<span class="spent" title=${limit === null ? 'Without a limit' : `${percent(part)} of ${money(limit)}`}>
    ${limit !== null && html`<${Meter} part=${part} label="Spent of the month's budget" kind=${kindOf(part)} />`}${money(budget.spent_micro_usd)}</span>`;
}
