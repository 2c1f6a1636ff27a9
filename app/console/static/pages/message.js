// One message: what was asked, what came of it, why it ended, what it cost; and what may be done with it.
import { html, useEffect, useState } from '../vendor/preact-htm.js';
import { count, exactTime, excerpt, money, seconds } from '../format.js';
import { href, navigate } from '../router.js';
import { Badge, Button, Card, Confirm, Copy, Facts, Failure, Loading, PageHead, announce, useAction, useLoad } from '../ui/index.js';

const STATES = { pending: ['live', 'running'], completed: ['good', 'completed'], failed: ['bad', 'failed'], cancelled: ['warn', 'cancelled'] };
const BACK = [href('messages'), 'Messages'];
const FINISHED = {
  stop: 'The model came to its end.', length: 'The answer is cut: it was as long as it may be.', tool_calls: 'The model calls tools and waits for what they come to.',
  content_filter: 'The provider held the answer back.', error: 'The provider broke it off.', other: 'The provider gave a reason of its own.',
};
const FAILED = {
  interrupted: 'The process that answered it was stopped.', not_started: 'No worker came to it in time.', empty_answer: 'The answer had no text.',
  output_mismatch: 'The answer does not fit the format that was asked for.', output_malformed: 'The answer’s pieces were out of order.',
  provider_rejected: 'The provider refused the request.', provider_unavailable: 'The provider could not be reached.', provider_timeout: 'The provider took too long.',
  provider_key_unusable: 'The tenant’s own key for the provider cannot be opened.',
};

export function Status({ message }) {
  const [kind, words] = STATES[message.status] ?? ['', message.status];
  return html`<${Badge} kind=${kind}>${words}</${Badge}>`;
}

export function Message({ api, me, id }) {
  const found = useLoad(({ signal }) => api.get(`messages/${id}`, {}, { signal }), [id]);
  const live = useLive(api, found);
  if (found.problem) return html`<${PageHead} title="Message" back=${BACK} /><${Failure} problem=${found.problem} onRetry=${found.reload} />`;
  const message = found.data;
  if (!message) return html`<${PageHead} title="Message" back=${BACK} /><${Loading} />`;
  return html`<${PageHead} title=${excerpt(message.content, 90) || 'Message'} back=${BACK} note=${exactTime(message.created_at)}>
      <${Deeds} api=${api} me=${me} message=${message} onChange=${found.set} /></${PageHead}>
    <div class="beside"><div class="stack">
        ${message.conversation_id && html`<${Thread} api=${api} message=${message} />`}
        <${Card} title="Prompt">${message.stored ? html`<${Text} text=${message.content} />` : html`<p class="muted">No text of this message is kept.</p>`}</${Card}>
        <${Answer} message=${message} live=${live} />
        ${message.citations && html`<${Citations} message=${message} />`}</div>
      <div class="stack"><${About} api=${api} me=${me} message=${message} /></div></div>`;
}

/** While it runs, what has come of it so far; once it has ended, the message is read again. */
function useLive(api, found) {
  const [live, setLive] = useState({ text: '', thoughts: '' });
  const runs = found.data?.status === 'pending';
  useEffect(() => {
    if (!runs) return undefined;
    const stop = new AbortController();
    setLive({ text: '', thoughts: '' });
    follow(api, found.data.id, stop.signal, (piece) => setLive((before) => ({ ...before, ...grown(before, piece) }))).then(
      (ended) => { if (!stop.signal.aborted && ended) found.reload(); },
      (problem) => { if (!stop.signal.aborted && problem.name !== 'AbortError') announce(problem.detail ?? 'The stream broke', 'failed'); },
    );
    return () => stop.abort();
  }, [runs, found.data?.id, found.data?.attempts]);
  return live;
}

const PAUSE_MS = 1000;

/** Its events to the end; a connection that breaks is taken up where it was. */
async function follow(api, id, signal, onPiece) {
  for (let lastId = null, ended = false, tries = 0; !signal.aborted && tries < 30; tries += 1) {
    try {
      await api.stream(`messages/${id}/stream`, null, (event) => {
        lastId = event.id ?? lastId;
        tries = 0;
        ended ||= ['completed', 'failed', 'cancelled'].includes(event.event);
        if (event.event === 'delta' || event.event === 'reasoning') onPiece(event);
      }, { signal, lastId });
      if (ended || lastId === null) return true;
    } catch (problem) {
      if (problem.status !== 0) throw problem;
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  return false;
}

const grown = (before, { event, data }) => (event === 'delta' ? { text: before.text + data.text } : { thoughts: before.thoughts + data.text });

/** What may be done with it: by its author, and by admins. */
function Deeds({ api, me, message, onChange }) {
  const [asks, ask] = useState(false);
  const [cancel, cancelling, failed] = useAction(async () => {
    onChange(await api.post(`messages/${message.id}/cancel`));
    announce('It was told to stop');
  });
  const [retry, retrying, refused] = useAction(async () => {
    onChange(await api.post(`messages/${message.id}/retry`, { background: true }));
    announce('It is answered again');
  });
  if (me.role !== 'admin' && me.id !== message.user_id) return null;
  const close = (done) => {
    ask(false);
    if (!done) return;
    announce('The message was deleted');
    navigate(href('messages'), { replace: true });
  };
  const runs = message.status === 'pending';
  return html`${runs && html`<${Button} icon="stop" busy=${cancelling} onClick=${cancel}>Cancel</${Button}>`}
    ${['failed', 'cancelled'].includes(message.status) && message.stored && html`<${Button} icon="retry" busy=${retrying} onClick=${retry}>Retry</${Button}>`}
    ${!runs && html`<${Button} icon="bin" onClick=${() => ask(true)}>Delete</${Button}>`}
    <${Failure} problem=${failed ?? refused} />
    ${asks && html`<${Confirm} title="Delete the message?" action="Delete" act=${() => api.del(`messages/${message.id}`)} onClose=${close}>
      <p>Prompt and answer are gone for good. What it cost stays in the usage.</p></${Confirm}>`}`;
}

/** The other turns of its conversation, of the newest twenty. */
function Thread({ api, message }) {
  const turns = useLoad(({ signal }) => api.get('messages', { conversation_id: message.conversation_id, limit: 20 }, { signal }), [message.conversation_id]);
  const others = (turns.data ?? []).filter((one) => one.id !== message.id).length;
  if (!others) return null;
  return html`<details class="card thread"><summary>${others} other ${others === 1 ? 'turn' : 'turns'} of this conversation</summary>
    <ol>${turns.data.toReversed().map((one) => html`<li aria-current=${one.id === message.id ? 'true' : undefined}><a href=${href('messages', one.id)}>${excerpt(one.content, 100) || '(no text)'}</a>
      <span class="muted">${excerpt(one.response, 120)}</span></li>`)}</ol>
    <p><a href=${href('messages', '', { conversation_id: message.conversation_id })}>All of them as a list</a></p></details>`;
}

function Answer({ message, live }) {
  const runs = message.status === 'pending';
  const items = message.output ?? (message.response ? [{ type: 'message', text: message.response }] : []);
  const shown = runs ? [live.thoughts && { type: 'reasoning', text: live.thoughts }, live.text && { type: 'message', text: live.text }].filter(Boolean) : items;
  const note = runs ? 'It is being written.' : why(message);
  return html`<${Card} title="Answer" note=${note} kind=${message.status === 'failed' ? 'danger' : ''}><div class="stack" aria-busy=${runs}>
    ${shown.map((item) => html`<${Item} item=${item} />`)}
    ${runs && html`<${Loading} label="Writing" />`}
    ${!runs && !shown.length && html`<p class="muted">${message.stored ? 'Nothing came of it.' : 'No text of this message is kept.'}</p>`}</div></${Card}>`;
}

function Item({ item }) {
  if (item.type === 'reasoning') return html`<details class="thoughts"><summary>Thoughts</summary><${Text} text=${item.text} /></details>`;
  if (item.type === 'tool_call') return html`<div class="call"><h3>Calls <code>${item.name}</code></h3><pre>${indented(item.arguments)}</pre><p class="muted">Call <code>${item.id}</code></p></div>`;
  return html`<${Text} text=${item.text} />`;
}

function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** As it was written: models' marks are not interpreted. What is very long is cut until somebody asks for it. */
function Text({ text }) {
  const [all, showAll] = useState(false);
  const shown = all || text.length <= 6000 ? text : text.slice(0, 5000);
  return html`<div class="text">${shown}${shown !== text && html`… <p><${Button} kind="quiet" onClick=${() => showAll(true)}>Show all ${count(text.length)} characters</${Button}></p>`}</div>`;
}

function Citations({ message }) {
  if (!message.citations.length) return html`<${Card} title="Citations"><p class="muted">It asked the documents, and no passage was near enough.</p></${Card}>`;
  return html`<${Card} title="Citations" note="The passages that its prompt had."><ol class="citations">${message.citations.map((one) => html`<li>
    <p><strong>[${one.source}]</strong> ${one.name}${one.page ? `, page ${one.page}` : ''}${one.heading && html` <span class="muted">${one.heading}</span>`} <span class="muted">score ${one.score.toFixed(2)}</span></p>
    <blockquote>${one.cited_text}</blockquote></li>`)}</ol></${Card}>`;
}

function why(message) {
  if (message.status === 'cancelled') return 'It was cancelled; what came until then is kept.';
  if (message.status === 'failed') return FAILED[message.error_code] ?? `It failed: ${message.error_code}.`;
  return message.cached ? 'The answer had been kept of an equal prompt.' : FINISHED[message.finish_reason] ?? '';
}

function About({ api, me, message }) {
  const author = useLoad(async ({ signal }) => {
    if (message.user_id === me.id) return me.email;
    if (me.role !== 'admin') return null;
    const users = await api.get(`tenants/${me.tenant_id}/users`, { limit: 100 }, { signal });
    return users.find((user) => user.id === message.user_id)?.email ?? null;
  }, [message.user_id]);
  const took = message.status === 'pending' ? null : (new Date(message.updated_at) - new Date(message.created_at)) / 1000;
  return html`<${Card} title="About it"><${Facts} rows=${[
    ['State', html`<${Status} message=${message} />`], ['Model', message.model], ['Cost', money(message.cost_micro_usd)],
    ['Tokens in', tokens(message.input_tokens, message.cached_tokens, 'from the provider’s cache')],
    ['Tokens out', tokens(message.output_tokens, message.reasoning_tokens, 'for thoughts')],
    ['Sent by', author.loading ? '…' : author.data ?? html`<code>${message.user_id}</code>`], ['Sent', exactTime(message.created_at)],
    ['Last change', exactTime(message.updated_at)], ['From first to last', took === null ? null : seconds(took)],
    ['Attempts', count(message.attempts)], ['Why it ended', message.error_code ?? message.finish_reason], ['Came by', message.api],
    ['Conversation', message.conversation_id && html`<a href=${href('messages', '', { conversation_id: message.conversation_id })}>${message.conversation_id.slice(0, 13)}…</a>`],
    ['Goes on with', message.previous_id && html`<a href=${href('messages', message.previous_id)}>${message.previous_id.slice(0, 13)}…</a>`],
    ...Object.entries(message.metadata ?? {}).map(([name, value]) => [name, value]),
    ['Id', html`<${Copy} text=${message.id} />`],
  ]} /></${Card}>`;
}

const tokens = (all, part, of) => (all === null ? null : `${count(all)}${part ? ` (${count(part)} ${of})` : ''}`);
