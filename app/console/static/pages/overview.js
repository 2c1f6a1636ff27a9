// The first look: what this month costs, what was sent, who and which models, and what runs now.
import { html } from '../vendor/preact-htm.js';
import { compact, count, day, excerpt, money, since, time } from '../format.js';
import { href } from '../router.js';
import { Badge, ButtonLink, Card, Chart, Empty, Failure, Figure, Loading, Meter, PageHead, Table, useEvery, useLoad, whole } from '../ui/index.js';

const FEW = 6;
const MOST_FAILED = 500;
const RUNNING_MS = 4000;

export default function Overview({ api, me }) {
  return html`<${PageHead} title="Overview" note=${monthNow()}><${ButtonLink} href=${href('messages')}>All messages</${ButtonLink}></${PageHead}>
    <div class="stack">${me.role === 'admin' && html`<${Month} api=${api} />`}<${Running} api=${api} /></div>`;
}

const monthNow = () => new Date().toLocaleDateString(undefined, { month: 'long', year: 'numeric', timeZone: 'UTC' });

/** What admins see: sums of the month, in UTC as everything that is billed. */
function Month({ api }) {
  const month = useLoad(async ({ signal }) => {
    const begin = new Date(new Date().toISOString().slice(0, 8) + '01T00:00:00Z').toISOString();
    const [budget, days, users, people, failed] = await Promise.all([
      api.get('admin/budget', {}, { signal }), api.get('usage', { group_by: 'day,model' }, { signal }),
      api.get('usage', { group_by: 'user' }, { signal }), emails(api, signal), failures(api, begin, signal),
    ]);
    return { budget, days, users, people, failed };
  });
  if (month.problem) return html`<${Failure} problem=${month.problem} onRetry=${month.reload} />`;
  const { budget, days = [], users = [], people, failed } = month.data ?? {};
  const labels = daysOfMonth();
  const models = byModel(days);
  return html`<${Sums} budget=${budget} days=${days} failed=${failed} />
    <div class="columns"><${Card} title="Cost by day" note="Stacked by model.">
        <${Chart} label="Cost by day, by model" labels=${labels.map(day)} series=${costs(models, labels)} format=${money} brief=${brief} least=${10_000} /></${Card}>
      <${Card} title="Messages by day" note="Failed ones on top.">
        <${Chart} label="Messages by day" labels=${labels.map(day)} series=${counts(days, failed, labels)} format=${count} brief=${compact} least=${4} /></${Card}></div>
    <div class="columns tops"><${Top} title="Users" loading=${month.loading} rows=${users} name=${(key) => people?.get(key) ?? (key ? `${key.slice(0, 8)}… (deleted)` : 'Embedding anew')} />
      <${Top} title="Models" loading=${month.loading} rows=${models.map(([key, rows]) => ({ key, ...total(rows) }))} name=${(key) => key ?? 'No model answered'} /></div>`;
}

function Sums({ budget, days, failed }) {
  const sums = total(days);
  const limit = budget && least(budget.limit_micro_usd, budget.ceiling_micro_usd);
  const part = limit ? budget.spent_micro_usd / limit : 0;
  return html`<${Card}><dl class="figures">
    <${Figure} label="Spent this month" note=${limit === null || limit === undefined ? 'No budget is set.' : `of ${money(limit)}, anew on ${time(budget.resets_at)}`}>${budget ? money(budget.spent_micro_usd) : '…'}</${Figure}>
    <${Figure} label="Set aside" note="For messages that are being answered.">${budget ? money(budget.reserved_micro_usd) : '…'}</${Figure}>
    <${Figure} label="Messages" note=${`${count(sums.cache_hits)} from kept answers`}>${count(sums.messages)}</${Figure}>
    <${Figure} label="Failed" note=${failed?.more ? 'The newest ones were counted.' : 'This month, as they stand.'}>${failed ? `${count(failed.rows.length)}${failed.more ? '+' : ''}` : '…'}</${Figure}>
    <${Figure} label="Tokens" note=${`${compact(sums.input_tokens)} in, ${compact(sums.output_tokens)} out`}>${compact(sums.input_tokens + sums.output_tokens)}</${Figure}>
    </dl><div class="budget-bar">${limit ? html`<${Meter} part=${part} label="Of the month’s budget" kind=${part >= 1 ? 'bad' : part >= 0.8 ? 'warn' : ''} />` : ''}</div></${Card}>`;
}

function Top({ title, rows, name, loading }) {
  const dearest = rows.toSorted((one, other) => other.cost_micro_usd - one.cost_micro_usd || other.messages - one.messages).slice(0, FEW);
  const columns = [
    { title, cell: (row) => name(row.key) },
    { title: 'Messages', width: '7rem', end: true, wide: true, cell: (row) => count(row.messages) },
    { title: 'Tokens', width: '6rem', end: true, wide: true, cell: (row) => compact(row.input_tokens + row.output_tokens) },
    { title: 'Cost', width: '7.6rem', end: true, cell: (row) => money(row.cost_micro_usd) },
  ];
  return html`<${Table} label=${`${title} by cost`} columns=${columns} list=${whole(dearest, { loading: loading && !rows.length })} rowKey=${(row) => String(row.key)} empty=${html`<${Card} title=${title}><p class="muted">Nothing was used this month.</p></${Card}>`} />`;
}

function Running({ api }) {
  const now = useLoad(({ signal }) => api.get('messages', { status: 'pending', limit: 20 }, { signal }));
  useEvery(RUNNING_MS, async () => now.set(await api.get('messages', { status: 'pending', limit: 20 })));
  const columns = [
    { title: 'Prompt', cell: (row) => excerpt(row.content) || 'Not kept' },
    { title: 'State', width: '8rem', cell: () => html`<${Badge} kind="live">running</${Badge}>` },
    { title: 'Since', width: '9rem', wide: true, cell: (row) => since(row.created_at) },
  ];
  return html`<section aria-label="Running now"><h2 class="above-table">Running now</h2>
    ${now.data === undefined && now.loading ? html`<${Loading} />` : html`<${Table} label="Messages that are being answered" columns=${columns} list=${whole(now.data, now)}
      href=${(row) => href('messages', row.id)} empty=${html`<${Card}><${Empty} title="Nothing is being answered">What is sent shows here until it has ended.</${Empty}></${Card}>`} />`}</section>`;
}

async function emails(api, signal) {
  const { tenant_id: id } = await api.get('me', {}, { signal });
  return new Map((await api.get(`tenants/${id}/users`, { limit: 100 }, { signal })).map((user) => [user.id, user.email]));
}

/** Those of the month that failed and were not run again since, the newest ones first. */
async function failures(api, begin, signal) {
  const pages = api.paged('messages', { status: 'failed', since: begin, limit: 100 });
  const rows = [];
  for (let more = true; more;) {
    const page = await pages.next(signal);
    rows.push(...page.rows.map((row) => row.created_at.slice(0, 10)));
    more = page.more;
    if (rows.length >= MOST_FAILED) return { rows, more };
  }
  return { rows, more: false };
}

function daysOfMonth() {
  const today = new Date().toISOString().slice(0, 10);
  return Array.from({ length: Number(today.slice(8)) }, (_, index) => today.slice(0, 8) + String(index + 1).padStart(2, '0'));
}

function byModel(days) {
  const groups = Map.groupBy(days, (row) => row.model);
  return [...groups].sort(([, one], [, other]) => total(other).cost_micro_usd - total(one).cost_micro_usd);
}

function costs(models, labels) {
  const shown = models.filter(([, rows]) => total(rows).cost_micro_usd > 0);
  const [first, rest] = [shown.slice(0, FEW), shown.slice(FEW).flatMap(([, rows]) => rows)];
  const all = rest.length ? [...first, ['Others', rest]] : first;
  return all.map(([name, rows]) => ({ name: name ?? 'No model', values: along(labels, rows, (row) => row.cost_micro_usd) }));
}

function counts(days, failed, labels) {
  const fell = along(labels, (failed?.rows ?? []).map((key) => ({ key })), () => 1);
  const sent = along(labels, days, (row) => row.messages).map((all, index) => Math.max(all - fell[index], 0));
  return [{ name: 'Answered or running', values: sent }, { name: 'Failed', values: fell, bad: true }];
}

function along(labels, rows, value) {
  const sums = new Map(labels.map((label) => [label, 0]));
  for (const row of rows) if (sums.has(row.key)) sums.set(row.key, sums.get(row.key) + value(row));
  return [...sums.values()];
}

const SUMS = ['messages', 'input_tokens', 'output_tokens', 'cost_micro_usd', 'cache_hits'];
const total = (rows) => Object.fromEntries(SUMS.map((name) => [name, rows.reduce((sum, row) => sum + row[name], 0)]));
const least = (one, other) => (one === null ? other : other === null ? one : Math.min(one, other));
const brief = (value) => (value < 1e9 ? money(value) : `$${compact(value / 1e6)}`);
