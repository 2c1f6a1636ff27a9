// What the tenant knows: documents are uploaded, read, searched and deleted here.
import { html, useState } from '../vendor/preact-htm.js';
import { bytes, count, since, time } from '../format.js';
import { href, navigate } from '../router.js';
import { Badge, Button, Card, Empty, Failure, Field, Loading, Meter, PageHead, Table, useEvery, useList, useLoad } from '../ui/index.js';
import { Document } from './document.js';
import { State, isUnfinished } from './document-state.js';
import { Uploads } from './uploads.js';

const LOOK_MS = 1500;
const STATES = [['', 'All'], ['ready', 'Ready'], ['processing', 'Being read'], ['queued', 'Waiting'], ['failed', 'Failed']];

export default function Documents({ api, me, route }) {
  if (route.id) return html`<${Document} key=${route.id} api=${api} me=${me} id=${route.id} query=${route.query} />`;
  return html`<${All} api=${api} query=${route.query} />`;
}

function All({ api, query }) {
  const [collection, status, words] = ['collection', 'status', 'q'].map((name) => query.get(name) ?? '');
  const list = useList('documents', { collection, status });
  const collections = useLoad(({ signal }) => api.get('collections', {}, { signal }));
  const go = (changes) => navigate(href('documents', '', { collection, status, q: words, ...changes }), { replace: true });
  const arrived = (row) => {
    if ((!status || row.status === status) && (!collection || row.collection === collection)) list.put(row);
    if (row.status !== 'queued') collections.reload();
  };
  const unfinished = list.rows.filter(isUnfinished).slice(0, 20);
  useEvery(unfinished.length ? LOOK_MS : 0, async () => {
    for (const row of await Promise.all(unfinished.map((one) => api.get(`documents/${one.id}`).catch(() => null)))) if (row) list.put(row);
  });
  // 501: the service has nothing to read them with, and there is nothing to be done on this page.
  if (list.problem?.status === 501) return html`<${PageHead} title="Documents" /><${Card}><${Empty} title="This service keeps no documents">${list.problem.detail}</${Empty}></${Card}>`;
  const names = (collections.data ?? []).map((one) => [one.name, `${one.name} (${count(one.documents)})`]);
  return html`<${PageHead} title="Documents" note="Questions are answered from them, and say from where." />
    <${Uploads} api=${api} collections=${names.map(([name]) => name)} collection=${collection} onArrived=${arrived} />
    <${Search} key=${words} words=${words} onSearch=${(q) => go({ q })}>
      <${Field} label="Collection" kind="select" options=${[['', 'All'], ...names]} value=${collection} onInput=${(value) => go({ collection: value })} />
      ${!words && html`<${Field} label="State" kind="select" options=${STATES} value=${status} onInput=${(value) => go({ status: value })} />`}
    </${Search}>
    ${words ? html`<${Found} api=${api} words=${words} collection=${collection} />` : html`<${List} list=${list} narrowed=${Boolean(collection || status)} />`}`;
}

function Search({ words, onSearch, children }) {
  const [typed, type] = useState(words);
  const search = (event) => {
    event.preventDefault();
    onSearch(typed.trim());
  };
  return html`<form class="filters" role="search" onSubmit=${search}>
    <div class="grows"><${Field} kind="search" label="Search in documents" value=${typed} onInput=${type} placeholder="A question, or words" autocomplete="off" maxlength="2000" /></div>
    ${children}<${Button} type="submit" icon="search">Search</${Button}>
    ${words && html`<${Button} kind="quiet" onClick=${() => onSearch('')}>Back to the list</${Button}>`}</form>`;
}

function List({ list, narrowed }) {
  const columns = [
    { title: 'Name', cell: (row) => html`${row.name}${row.visibility === 'private' && html` <${Badge}>private</${Badge}>`}` },
    { title: 'State', width: '8.5rem', cell: (row) => html`<${State} row=${row} />` },
    { title: 'Collection', width: '10rem', wide: true, cell: (row) => row.collection },
    { title: 'Size', width: '6.5rem', end: true, wide: true, cell: (row) => bytes(row.bytes) },
    { title: 'Passages', width: '6rem', end: true, wide: true, cell: (row) => count(row.chunks) },
    { title: 'Uploaded', width: '9rem', wide: true, cell: (row) => html`<span title=${time(row.created_at)}>${since(row.created_at)}</span>` },
  ];
  const none = narrowed ? html`<${Card}><${Empty} title="Nothing like that" action=${html`<a href=${href('documents')}>All documents</a>`} /></${Card}>`
    : html`<${Card}><${Empty} title="There are no documents yet">Drop a file above: text, Markdown, HTML, CSV, PDF, Word, PowerPoint or Excel. Once it is ready, search it here, or ask about it under Try it.</${Empty}></${Card}>`;
  return html`<${Table} label="Documents" columns=${columns} list=${list} href=${(row) => href('documents', row.id)} empty=${none} />`;
}

function Found({ api, words, collection }) {
  const found = useLoad(({ signal }) => api.post('search', { query: words, top_k: 20, collection: collection || null }, { signal }), [words, collection]);
  if (found.problem) return html`<${Failure} problem=${found.problem} onRetry=${found.reload} />`;
  if (found.loading) return html`<${Loading} label="Searching" />`;
  if (!found.data.length) return html`<${Card}><${Empty} title="Nothing was found">Documents that are still being read are not found yet.</${Empty}></${Card}>`;
  const best = Math.max(...found.data.map((one) => one.score), Number.MIN_VALUE);
  return html`<ol class="found" aria-label="Passages, the best first">${found.data.map((one) => html`<li key=${one.chunk_id}><article class="card">
    <header><div><h2><a href=${href('documents', one.document_id, { from: one.start, to: one.end })}>${one.name}</a></h2>
      <p class="muted">${[one.heading, one.page && `page ${one.page}`, one.collection].filter(Boolean).join(' · ')}</p></div>
      <div class="score"><span>${one.score.toFixed(2)}</span><${Meter} part=${one.score / best} label="Score, beside the best one's" /></div></header>
    <p class="passage">${toThePoint(one.text, words)}</p></article></li>`)}</ol>`;
}

/** A passage from the paragraph on that has most of the question's words: it may be longer than is shown. */
function toThePoint(text, words) {
  const wanted = new Set(words.toLowerCase().match(/[\p{L}\p{N}]{3,}/gu) ?? []);
  const paragraphs = text.trim().split(/\n+/);
  const hits = paragraphs.map((one) => new Set((one.toLowerCase().match(/[\p{L}\p{N}]{3,}/gu) ?? []).filter((word) => wanted.has(word))).size);
  const at = hits.indexOf(Math.max(...hits));
  return (at ? '… ' : '') + paragraphs.slice(at).join('\n');
}
