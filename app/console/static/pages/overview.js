// The first look: what this month costs, what was sent, who and which models, and what runs now.
import { html } from '../vendor/preact-htm.js';
import { compact, count, day, excerpt, money, since, time } from '../format.js';
import { href } from '../router.js';
import { Badge, ButtonLink, Card, Chart, Empty, Failure, Figure, Loading, Meter, PageHead, Table, useEvery, useLoad, whole } from '../ui/index.js';

const FEW = 6;
// Of what no sum is made by the service, so many of the newest are counted.
const MOST = 500;
const MOST_OWN = 300;
const RUNNING_MS = 4000;

export default function Overview({ api, me }) {
  return html`<${PageHead} title="Overview" note=${monthNow()}><${ButtonLink} href=${href('messages')}>All messages</${ButtonLink}></${PageHead}>
    <div class="stack">${me.role === 'admin' ? html`<${Month} api=${api} />` : html`<${Mine} api=${api} me=${me} />`}<${Running} api=${api} /></div>`;
}

const monthNow = () => new Date().toLocaleDateString(undefined, { month: 'long', year: 'numeric', timeZone: 'UTC' });

/** What a user sees: its own messages of the month, counted from themselves, as sums are shown to admins alone. */
function Mine({ api, me }) {
  const month = useLoad(({ signal }) => newest(api, { user_id: me.id, since: monthsBegin() }, MOST_OWN, signal), [me.id]);
  if (month.problem) return html`<${Failure} problem=${month.problem} onRetry=${month.reload} />`;
  const { rows = [], more = false } = month.data ?? {};
  const days = rows.map((row) => ({ ...row, key: dayOf(row), messages: 1, cache_hits: Number(row.cached) }));
  const sums = total(days);
  const failed = rows.filter((row) => row.status === 'failed');
  const note = more ? `Of your newest ${MOST_OWN}.` : 'Yours, this month.';
  return html`<${Card}><dl class="figures">
      <${Figure} label="Messages" note=${note}>${month.data ? count(rows.length) : '…'}</${Figure}>
      <${Figure} label="Failed" note=${note}>${month.data ? count(failed.length) : '…'}</${Figure}>
      <${Figure} label="Tokens" note=${`${compact(sums.input_tokens)} in, ${compact(sums.output_tokens)} out`}>${compact(sums.input_tokens + sums.output_tokens)}</${Figure}>
      <${Figure} label="Cost" note=${note}>${month.data ? money(sums.cost_micro_usd) : '…'}</${Figure}></dl></${Card}>
    <${ByDay} days=${days} failed=${failed.map(dayOf)} />`;
}

/** What admins see: sums of the month, in UTC as everything that is billed. */
function Month({ api }) {
  const month = useLoad(async ({ signal }) => {
    const [budget, days, users, people, failed] = await Promise.all([
      api.get('admin/budget', {}, { signal }), api.get('usage', { group_by: 'day,model' }, { signal }),
      api.get('usage', { group_by: 'user' }, { signal }), emails(api, signal), newest(api, { status: 'failed', since: monthsBegin() }, MOST, signal),
    ]);
    return { budget, days, users, people, failed };
  });
  if (month.problem) return html`<${Failure} problem=${month.problem} onRetry=${month.reload} />`;
  const { budget, days = [], users = [], people, failed } = month.data ?? {};
  const models = byModel(days);
  return html`<${Sums} budget=${budget} days=${days} failed=${failed} />
    <${ByDay} days=${days} failed=${(failed?.rows ?? []).map(dayOf)} />
    <div class="columns tops"><${Top} title="Users" loading=${month.loading} rows=${users} name=${(key) => people?.get(key) ?? (key ? `${key.slice(0, 8)}… (deleted)` : 'Embedding anew')} />
      <${Top} title="Models" loading=${month.loading} rows=${models.map(([key, rows]) => ({ key, ...total(rows) }))} name=${(key) => key ?? 'No model answered'} /></div>`;
}

/** Both charts: `days` have a `key`, a `model` and sums; `failed` is the day of each that failed. */
function ByDay({ days, failed }) {
  const labels = daysOfMonth();
  return html`<div class="columns"><${Card} title="Cost by day" note="Stacked by model.">
      <${Chart} label="Cost by day, by model" labels=${labels.map(day)} series=${costs(byModel(days), labels)} format=${money} brief=${brief} least=${10_000} /></${Card}>
    <${Card} title="Messages by day" note="Failed ones on top.">
      <${Chart} label="Messages by day" labels=${labels.map(day)} series=${counts(days, failed, labels)} format=${count} brief=${compact} least=${4} /></${Card}></div>`;
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

/** The newest messages that fit, `most` of them; `more` says that there are others. */
async function newest(api, query, most, signal) {
  const pages = api.paged('messages', { ...query, limit: 100 });
  const rows = [];
  for (let more = true; more;) {
    const page = await pages.next(signal);
    rows.push(...page.rows);
    more = page.more;
    if (rows.length >= most) return { rows, more };
  }
  return { rows, more: false };
}

const dayOf = (row) => row.created_at.slice(0, 10);
const monthsBegin = () => `${new Date().toISOString().slice(0, 8)}01T00:00:00Z`;

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
  const fell = along(labels, failed.map((key) => ({ key })), () => 1);
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
