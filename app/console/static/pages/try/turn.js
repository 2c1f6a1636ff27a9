// A question and its answer, as they are shown.
import { html, useEffect, useLayoutEffect, useRef } from '../../vendor/preact-htm.js';
import { Badge, Failure } from '../../ui/index.js';
import { count, money } from '../../format.js';
import { href } from '../../router.js';

const REASONS = {
  length: 'cut at its longest',
  content_filter: "stopped by the provider's content filter",
  tool_calls: 'it wants tools to be called',
};

// How far below the window the end may be for somebody to be taken along as an answer grows.
const NEAR = 120;

/** All of them; who reads the end is kept there. */
export function Turns({ turns }) {
  const end = useRef();
  const near = useRef(true);
  useEffect(() => {
    const look = () => { near.current = end.current.getBoundingClientRect().top < innerHeight + NEAR; };
    addEventListener('scroll', look, { passive: true });
    return () => removeEventListener('scroll', look);
  }, []);
  useLayoutEffect(() => { if (near.current && turns.length) end.current.scrollIntoView({ block: 'nearest' }); }, [turns]);
  return html`<div class="turns" role="log">${turns.map((turn) => html`<${Turn} key=${turn.key} turn=${turn} />`)}<div ref=${end} /></div>`;
}

function Turn({ turn }) {
  const runs = turn.state !== 'ended';
  return html`
    <article class="turn">
      <h3>You</h3>
      <p class="said asked">${turn.content}</p>
      <h3>${turn.model ?? 'Answer'}</h3>
      ${turn.reasoning && html`<details class="thoughts"><summary>Thoughts</summary><p class="said">${turn.reasoning}</p></details>`}
      <p class="said" aria-busy=${runs}>${turn.response}</p>
      ${turn.calls.map((call) => html`<pre class="call">${call.name}(${call.arguments})</pre>`)}
      <${Failed} turn=${turn} />
      <${Citations} citations=${turn.citations} />
      <${Foot} turn=${turn} />
    </article>`;
}

/** Why there is no answer, or no more of it. What is loaded again has but the code of it. */
function Failed({ turn }) {
  const problem = turn.problem ?? (turn.status === 'failed' && { detail: `It failed: ${turn.error_code}.` });
  return html`<${Failure} problem=${problem || null} />`;
}

function Citations({ citations }) {
  if (!citations) return null;
  if (!citations.length) return html`<p class="muted">No passage of the documents came near enough; the model was told so.</p>`;
  return html`
    <details class="citations" open>
      <summary>Passages of documents that were in the prompt: ${citations.length}</summary>
      <ol>${citations.map((passage) => html`
        <li key=${passage.chunk_id} value=${passage.source}>
          <b>${passage.name}</b>${passage.page !== null && `, page ${passage.page}`}${passage.heading && `, ${passage.heading}`}
          ${' '}<span class="muted">score ${passage.score.toFixed(2)}</span>
          <blockquote>${passage.cited_text}</blockquote>
        </li>`)}
      </ol>
    </details>`;
}

function Foot({ turn }) {
  if (turn.state === 'waiting') {
    return html`<p class="muted" role="status">The connection broke. The answer goes on here as soon as there is one again …</p>`;
  }
  if (turn.state !== 'ended') return html`<p class="muted" role="status">${turn.response ? 'Writing …' : 'Thinking …'}</p>`;
  const facts = [
    REASONS[turn.finish_reason],
    turn.cached && 'answered from the cache',
    isKnown(turn.input_tokens) && `${count(turn.input_tokens)} tokens in`,
    isKnown(turn.output_tokens) && `${count(turn.output_tokens)} out`,
    turn.reasoning_tokens && `${count(turn.reasoning_tokens)} of them thoughts`,
    isKnown(turn.cost_micro_usd) && money(turn.cost_micro_usd),
  ].filter(Boolean);
  return html`
    <p class="muted">
      ${turn.status === 'cancelled' && html`<${Badge}>stopped<//> `}${facts.join(' · ')}
      ${turn.id && html` <a href=${href('messages', turn.id)}>Details</a>`}
    </p>`;
}

const isKnown = (value) => value !== null && value !== undefined;
