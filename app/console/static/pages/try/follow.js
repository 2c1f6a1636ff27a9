// One answer from its question to its end, over as many connections as it takes.

const ENDS = ['completed', 'failed', 'cancelled'];
// A question that never arrived is not asked for ever: its text goes back to who wrote it.
const TRIES = 4;
const FIRST_WAIT = 500;
const LONGEST_WAIT = 8000;
// What may be better in a moment; 0: no answer.
const PASSING = [0, 429, 502, 503, 504];

/**
 * @typedef {object} Turn  A message as the page shows it: what the service says of it, and how far this page is.
 * @property {string} key  The page's own name for it; the service's `id` comes later.
 * @property {'asked' | 'running' | 'waiting' | 'ended'} state  `waiting`: the connection is gone and is made anew.
 */

/** @returns {Turn} */
export function asked(content) {
  return { key: randomKey(), content, response: '', reasoning: '', calls: [], citations: null, state: 'asked' };
}

/** A message as the service has stored it; one that still runs is to be followed, and begins anew. @returns {Turn} */
export function stored(message) {
  const runs = message.status === 'pending';
  const thoughts = (message.output ?? []).filter((item) => item.type === 'reasoning');
  return {
    ...message, key: message.id, state: runs ? 'running' : 'ended', calls: message.tool_calls ?? [],
    response: runs ? '' : message.response, reasoning: runs ? '' : thoughts.map((item) => item.text).join('\n\n'),
  };
}

/**
 * Send `body` (null: `turn` was sent, follow it) and read its answer to the end. A connection that drops is made again
 * where it was; the question goes under a key, so that it is asked once however often it is sent.
 * @param {(change: (turn: Turn) => Turn) => void} change
 * Throws the `Problem` of a question that was not taken. Of one that was, the turn has what went wrong.
 */
export async function follow(api, turn, body, change, signal) {
  const headers = { 'Idempotency-Key': randomKey() };
  let id = turn.id;
  let last = null;
  let ended = false;
  let wait = FIRST_WAIT;

  function take({ event, data, id: position }) {
    // Another attempt says everything anew.
    const again = position && last && position.split('-')[0] !== last.split('-')[0];
    if (position) last = position;
    id ??= data.id;
    ended ||= ENDS.includes(event);
    wait = FIRST_WAIT;
    change((old) => applied(again ? { ...old, response: '', reasoning: '', calls: [] } : old, event, data));
  }

  for (let tries = 1; ; tries += 1) {
    try {
      if (id) await api.stream(`messages/${id}/stream`, undefined, take, { signal, lastId: last });
      else await api.stream('messages', { ...body, stream: true }, take, { signal, headers });
    } catch (problem) {
      if (signal.aborted) return undefined;
      if (!id && problem.status === 409 && tries > 1 && problem.message_id) id = problem.message_id;
      else if (!id && (problem.status || tries === TRIES)) throw problem;
      else if (!PASSING.includes(problem.status)) return change((old) => ({ ...old, problem, state: 'ended' }));
    }
    if (ended || signal.aborted) return undefined;
    change((old) => ({ ...old, id, state: 'waiting' }));
    await pause(wait, signal);
    if (signal.aborted) return undefined;
    wait = Math.min(2 * wait, LONGEST_WAIT);
  }
}

function applied(turn, event, data) {
  switch (event) {
    case 'message': return { ...turn, id: data.id, model: data.model, state: 'running' };
    case 'citations': return { ...turn, citations: data.citations };
    case 'reasoning': return { ...turn, reasoning: turn.reasoning + data.text, state: 'running' };
    case 'delta': return { ...turn, response: turn.response + data.text, state: 'running' };
    case 'failed': return { ...turn, status: 'failed', problem: data, state: 'ended' };
    case 'completed':
    case 'cancelled': return { ...stored(data), key: turn.key, reasoning: turn.reasoning };
    default: return { ...turn, state: 'running' };
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

// Not crypto.randomUUID: that is only where the page came over TLS, or from this machine.
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(16).padStart(8, '0')).join('');
}
