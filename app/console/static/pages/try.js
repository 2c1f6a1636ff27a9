// Try it: a conversation with a model. Enter sends, Escape stops; the address is the conversation's.
import { html, useEffect, useRef, useState } from '../vendor/preact-htm.js';
import { Button, ButtonLink, Empty, Failure, Field, Loading, PageHead, useLoad } from '../ui/index.js';
import { href, navigate } from '../router.js';
import { Options, asking, bodyOf } from './try/options.js';
import { asked, follow, stored } from './try/follow.js';
import { Turns } from './try/turn.js';

export const title = 'Try it';
const SHOWN = 100;
const TITLE_LENGTH = 60;

export default function Try({ api, me, route }) {
  const offered = useLoad(() => load(api, me));
  const [problem, setProblem] = useState(null);
  const [options, setOptions] = useState(() => asking(route.query.get('collection')));
  const [turns, setTurns] = useState([]);
  const [text, setText] = useState('');
  const [stopping, setStopping] = useState(false);
  const [wide] = useState(() => innerWidth >= 860);
  // The conversation that is shown; one that this page begins has its address a moment later.
  const id = route.query.get('conversation') ?? '';
  const shown = useRef(null);
  const running = useRef(new AbortController());
  const last = turns.at(-1);
  const busy = Boolean(last && last.state !== 'ended');
  const given = offered.data;

  useEffect(() => () => running.current.abort(), []);

  useEffect(() => {
    if (shown.current === id) return;
    shown.current = id;
    running.current.abort();
    setTurns([]);
    setProblem(null);
    setStopping(false);
    setOptions((old) => ({ ...old, system: '' }));
    if (id) open(id).catch((found) => { if (shown.current === id) setProblem(found); });
  }, [id]);

  // What was asked to stop before the service had said which message it is, is stopped then.
  useEffect(() => {
    if (!stopping || !last?.id || !busy) return;
    api.post(`messages/${last.id}/cancel`).catch((found) => {
      setStopping(false);
      if (found.status !== 409) setProblem(found);
    });
  }, [stopping, last?.id, busy]);

  useEffect(() => {
    if (!busy) return undefined;
    const stop = (event) => { if (event.key === 'Escape' && !event.defaultPrevented) setStopping(true); };
    addEventListener('keydown', stop);
    return () => removeEventListener('keydown', stop);
  }, [busy]);

  async function open(wanted) {
    const [conversation, { rows }] = await Promise.all([
      api.get(`conversations/${wanted}`),
      api.paged('messages', { conversation_id: wanted, limit: SHOWN }).next(),
    ]);
    if (shown.current !== wanted) return;
    setOptions((old) => ({ ...old, system: conversation.system_prompt ?? '' }));
    const found = rows.reverse().map(stored);
    setTurns(found);
    const open = found.find((turn) => turn.state !== 'ended');
    if (open) await answer(open, null);
  }

  async function answer(turn, body) {
    running.current = new AbortController();
    const { signal } = running.current;
    const change = (changed) => { if (!signal.aborted) setTurns((all) => all.map((one) => (one.key === turn.key ? changed(one) : one))); };
    await follow(api, turn, body, change, signal);
    setStopping(false);
  }

  async function send() {
    const content = text.trim();
    if (!content || busy || !given) return;
    const turn = asked(content);
    setProblem(null);
    setText('');
    setTurns((all) => [...all, turn]);
    try {
      const body = { content, ...bodyOf(options, given.models) };
      if (!given.alone) body.conversation_id = await conversationFor(content);
      await answer(turn, body);
    } catch (found) {
      setTurns((all) => all.filter((one) => one.key !== turn.key));
      setText((typed) => typed || content);
      setStopping(false);
      setProblem(found);
    }
  }

  async function conversationFor(content) {
    if (shown.current) return shown.current;
    const title = content.length > TITLE_LENGTH ? `${content.slice(0, TITLE_LENGTH)}…` : content;
    const made = await api.post('conversations', { title, system_prompt: options.system || null });
    shown.current = made.id;
    navigate(href('try', '', { conversation: made.id }), { replace: true });
    return made.id;
  }

  function key(event) {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  }

  if (!given) return offered.problem ? html`<${Failure} problem=${offered.problem} onRetry=${offered.reload} />` : html`<${Loading} />`;
  return html`
    <${PageHead} title=${title} note=${given.alone && 'This tenant keeps no texts: each message stands alone, and is gone with this page.'}>
      ${turns.length > 0 && !given.alone && html`<${ButtonLink} icon="plus" href=${href('try')}>New conversation</${ButtonLink}>`}
    </${PageHead}>
    <div class="try">
      <details class="card try-options" open=${wide}>
        <summary>Options</summary>
        <div class="form"><${Options} options=${options} set=${setOptions} ...${given} begun=${turns.length > 0} /></div>
      </details>
      <section class="try-talk" aria-label="Conversation">
        ${!turns.length && !problem && html`<${Empty} title="Nothing said yet">Ask the model something. Enter sends, Escape stops the answer.</${Empty}>`}
        <${Turns} turns=${turns} />
        <${Failure} problem=${problem} />
        <form class="try-ask" onSubmit=${(event) => { event.preventDefault(); send(); }}>
          <${Field} label="Your message" kind="textarea" rows="3" value=${text} onInput=${setText} onKeyDown=${key} aria-describedby="try-keys" />
          ${busy
            ? html`<${Button} icon="stop" busy=${stopping} onClick=${() => setStopping(true)}>Stop</${Button}>`
            : html`<${Button} type="submit" kind="primary" disabled=${!text.trim()}>Send</${Button}>`}
          <p id="try-keys" class="hint">Enter sends, Shift and Enter begins a new line</p>
        </form>
      </section>
    </div>`;
}

/** What the form offers. `alone`: the tenant keeps no texts, so there are no conversations. */
async function load(api, me) {
  const [models, tenant, collections] = await Promise.all([
    api.get('models'),
    api.get(`tenants/${me.tenant_id}`),
    api.get('collections').catch((problem) => { if (problem.status === 501) return null; throw problem; }),
  ]);
  return { models, collections, alone: tenant.message_retention_days === 0 };
}
