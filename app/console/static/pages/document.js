// One document: what was read in it, and why it failed where it did.
import { html, useEffect, useRef, useState } from '../vendor/preact-htm.js';
import { send } from '../api.js';
import { bytes, count, since, time } from '../format.js';
import { href, navigate } from '../router.js';
import { Badge, Button, ButtonLink, Card, Confirm, Copy, Facts, Failure, Loading, PageHead, Progress, announce, useEvery, useLoad } from '../ui/index.js';
import { useNames } from '../people.js';
import { State, isUnfinished } from './document-state.js';

const LOOK_MS = 1000;
const SHOWN = 20_000;

export function Document({ api, me, id, query }) {
  const found = useLoad(({ signal }) => api.get(`documents/${id}`, {}, { signal }), [id]);
  const names = useNames(api, me);
  const [asked, ask] = useState(false);
  const row = found.data;
  useEvery(row && isUnfinished(row) ? LOOK_MS : 0, async () => found.set(await api.get(`documents/${id}`)));
  const remove = async () => {
    await api.del(`documents/${id}`);
    announce(`${row.name} is deleted`);
  };
  const removed = (done) => {
    ask(false);
    if (done) navigate(href('documents'));
  };
  const mayDelete = row && (me.role === 'admin' || row.user_id === me.id);
  return html`<${PageHead} title=${row?.name ?? 'Document'} note=${html`<a href=${href('documents')}>All documents</a>`}>
      ${row?.status === 'ready' && html`<${ButtonLink} icon="try" href=${href('try', '', { collection: row.collection })}>Ask its collection</${ButtonLink}>`}
      ${mayDelete && html`<${Button} kind="danger" icon="bin" onClick=${() => ask(true)}>Delete</${Button}>`}</${PageHead}>
    <${Failure} problem=${found.problem} onRetry=${found.reload} />
    ${row ? html`<${About} row=${row} names=${names} query=${query} />` : found.loading && html`<${Loading} />`}
    ${asked && html`<${Confirm} title="Delete ${row?.name}?" action="Delete for good" act=${remove} onClose=${removed}>
      <p>Nobody finds it from then on. Answers that cite it keep their quotations.</p></${Confirm}>`}`;
}

function About({ row, names, query }) {
  return html`<div class="stack">${row.error && html`<${Failure} problem=${{ detail: row.error }} />`}
    ${isUnfinished(row) && html`<${Progress} label=${row.status === 'queued' ? 'Waits to be read' : 'Reading'} value=${row.status === 'queued' ? undefined : row.progress / 100} />`}
    <${Card}><${Facts} rows=${[
      ['State', html`<${State} row=${row} />`], ['Collection', html`<a href=${href('documents', '', { collection: row.collection })}>${row.collection}</a>`],
      ['Seen by', row.visibility === 'private' ? html`<${Badge}>its uploader and admins</${Badge}>` : 'the tenant'],
      ['Uploaded', html`<span title=${time(row.created_at)}>${since(row.created_at)}, by ${names(row.user_id)}</span>`],
      ['Kind', row.media_type], ['Size', bytes(row.bytes)], ['Pages', row.pages && count(row.pages)],
      ['Characters', row.characters && count(row.characters)], ['Passages', row.chunks ? `${count(row.chunks)} (${count(row.tokens)} tokens)` : null],
      ...Object.entries(row.attributes).map(([name, value]) => [name, String(value)]), ['Id', html`<${Copy} text=${row.id} />`],
    ]} /></${Card}>
    ${row.status === 'ready' && html`<${Text} id=${row.id} from=${query.get('from')} to=${query.get('to')} />`}</div>`;
}

/** What was read in it; the passage that a search found is marked. */
function Text({ id, from, to }) {
  const content = useLoad(async ({ signal }) => (await send('GET', `documents/${id}/content`, { signal })).text(), [id]);
  const [all, showAll] = useState(false);
  const mark = useRef();
  useEffect(() => mark.current?.scrollIntoView({ block: 'center' }), [content.data]);
  if (content.problem) return html`<${Card} title="Text"><${Failure} problem=${content.problem} onRetry=${content.reload} /></${Card}>`;
  if (content.data === undefined) return html`<${Card} title="Text"><${Loading} /></${Card}>`;
  const text = content.data;
  const [begin, end] = [unitsBefore(text, Number(from) || 0), unitsBefore(text, Number(to) || 0)];
  const most = all ? text.length : Math.max(SHOWN, end + SHOWN / 2);
  const part = (first, last) => text.slice(first, Math.min(last, most)).toWellFormed();
  return html`<${Card} title="Text" note="What was read in it."><pre class="text" tabindex="0" aria-label="Text of the document">${part(0, begin)}${end > begin && html`<mark ref=${mark}>${part(begin, end)}</mark>`}${part(Math.max(end, begin), text.length)}</pre>
    ${most < text.length && html`<p><${Button} onClick=${() => showAll(true)}>Show all of it</${Button}></p>`}</${Card}>`;
}

/** Offsets count characters, and a text of JavaScript is made of halves of some. */
function unitsBefore(text, characters) {
  let units = 0;
  for (let left = characters; left > 0 && units < text.length; left -= 1) units += text.codePointAt(units) > 0xFFFF ? 2 : 1;
  return units;
}
