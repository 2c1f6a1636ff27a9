// Uploading: files are dropped or chosen, sent one after another, and followed until they are read.
import { html, useEffect, useRef, useState } from '../vendor/preact-htm.js';
import { bytes } from '../format.js';
import { href } from '../router.js';
import { Button, Failure, Field, Progress, announce, useAlive } from '../ui/index.js';
import { isUnfinished } from './document-state.js';

const LOOK_MS = 800;
let made = 0;

/** `onArrived(document)` when one is stored, and when it has ended. */
export function Uploads({ api, collections, collection, onArrived }) {
  const [into, setInto] = useState(collection || 'default');
  const [isPrivate, setPrivate] = useState(false);
  const [uploads, change, add] = useUploads(api, onArrived);
  const [over, setOver] = useState(false);
  const chooser = useRef();
  const take = (files) => {
    if (files.length) add([...files], { collection: into.trim() || 'default', visibility: isPrivate ? 'private' : 'tenant' });
  };
  useDrop(setOver, take);
  const chosen = (event) => {
    take(event.target.files);
    event.target.value = '';
  };
  return html`<section class="drop ${over ? 'over' : ''}" aria-label="Upload">
    <div class="say"><strong>Drop files anywhere here</strong><span class="muted">txt, md, html, csv, pdf, docx, pptx, xlsx</span>
      <${Button} kind="primary" icon="up" onClick=${() => chooser.current.click()}>Choose files</${Button}>
      <input ref=${chooser} type="file" multiple hidden aria-label="Files" onChange=${chosen} /></div>
    <div class="fields"><${Field} label="Into the collection" value=${into} onInput=${setInto} list="collections" maxlength="100" autocomplete="off" />
      <${Field} label="Private: for you and admins alone" kind="checkbox" value=${isPrivate} onInput=${setPrivate} />
      <datalist id="collections">${collections.map((name) => html`<option value=${name} />`)}</datalist></div>
    ${uploads.length > 0 && html`<ul class="uploads" aria-label="Uploads">${uploads.map((one) => html`<${Upload} key=${one.key} upload=${one} onRemove=${() => change(one.key, null)} />`)}</ul>`}
    ${uploads.some((one) => !one.document && !one.problem) && html`<p class="muted small">Stay on this page until all are sent.</p>`}
  </section>`;
}

/** Files may be dropped anywhere on the page: beside the place that is meant, the browser would open them in its stead. */
function useDrop(setOver, take) {
  const latest = useRef(take);
  latest.current = take;
  useEffect(() => {
    const drag = (event) => {
      if (!event.dataTransfer?.types.includes('Files')) return;
      event.preventDefault();
      setOver(event.type === 'dragover' || (event.type === 'dragleave' && event.relatedTarget !== null));
      if (event.type === 'drop') latest.current(event.dataTransfer.files);
    };
    const kinds = ['dragover', 'dragleave', 'drop'];
    for (const kind of kinds) addEventListener(kind, drag);
    return () => { for (const kind of kinds) removeEventListener(kind, drag); };
  }, []);
}

function Upload({ upload, onRemove }) {
  const { file, sent, document: row, problem, stop } = upload;
  const ended = problem || (row && !isUnfinished(row));
  return html`<li><div class="upload"><span class="name">${row ? html`<a href=${href('documents', row.id)}>${file.name}</a>` : file.name}</span> <span class="muted">${bytes(file.size)}</span>
      <${Button} kind="quiet small" icon="close" label=${ended || row ? `Take ${file.name} off this list` : `Stop sending ${file.name}`} onClick=${() => { stop.abort(); onRemove(); }} /></div>
    ${problem && html`<${Failure} problem=${problem} />`}
    ${row?.status === 'failed' && html`<${Failure} problem=${{ detail: row.error }} />`}
    ${row?.status === 'ready' && html`<p class="muted">Ready: it is found from now on.</p>`}
    ${!ended && html`<${Stage} sent=${sent} row=${row} />`}</li>`;
}

function Stage({ sent, row }) {
  if (sent === null) return html`<p class="muted">Waits for its turn</p>`;
  if (!row) return html`<${Progress} label="Sending" value=${sent} />`;
  return html`<${Progress} label=${row.status === 'queued' ? 'Waits to be read' : 'Reading'} value=${row.status === 'queued' ? undefined : row.progress / 100} />`;
}

/** `[uploads, change(key, changes or null), add(files, fields)]`; each is `{key, file, sent, document, problem, stop}`. */
function useUploads(api, onArrived) {
  const [uploads, set] = useState([]);
  const queue = useRef(Promise.resolve());
  const alive = useAlive();
  const told = useRef(onArrived);
  told.current = onArrived;
  const running = useRef(new Set());
  useEffect(() => () => { for (const stop of running.current) stop.abort(); }, []);
  const change = (key, changes) => {
    if (alive.current) set((before) => before.flatMap((one) => (one.key !== key ? [one] : changes ? [{ ...one, ...changes }] : [])));
  };
  const send = async ({ key, file, stop }, fields) => {
    if (stop.signal.aborted) return;
    try {
      const form = new FormData();
      for (const [name, value] of Object.entries(fields)) form.set(name, value);
      form.set('file', file);
      change(key, { sent: 0 });
      const row = await api.upload('documents', form, (sent) => change(key, { sent }), { signal: stop.signal });
      change(key, { document: row });
      if (alive.current) told.current(row);
      follow(key, row, stop.signal);
    } catch (problem) {
      if (problem.name !== 'AbortError') change(key, { problem });
    }
  };
  // Beside the next file's way: what is read, is read by the service.
  const follow = async (key, first, signal) => {
    let row = first;
    while (isUnfinished(row) && !signal.aborted && alive.current) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      if (document.hidden) continue;
      row = await api.get(`documents/${row.id}`, {}, { signal }).catch((problem) => (problem.status === 404 ? { ...row, status: 'failed', error: 'It was deleted meanwhile.' } : row));
      change(key, { document: row });
    }
    if (signal.aborted || !alive.current) return;
    announce(row.status === 'ready' ? `${row.name} is ready` : `${row.name} could not be read`, row.status === 'ready' ? 'done' : 'failed');
    told.current(row);
  };
  const add = (files, fields) => {
    const fresh = files.map((file) => ({ key: made += 1, file, sent: null, document: null, problem: null, stop: new AbortController() }));
    set((before) => [...before, ...fresh]);
    for (const one of fresh) {
      running.current.add(one.stop);
      queue.current = queue.current.then(() => send(one, fields));
    }
  };
  return [uploads, change, add];
}
