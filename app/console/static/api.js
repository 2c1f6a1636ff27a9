// The service's interface, as every client has it: JSON, problems (RFC 9457), keyset pages, events.
import { ROOT, end, renew, session } from './session.js';

/** What the service refused or could not do; `detail` is for people, `code` the last word of its type. */
export class Problem extends Error {
  constructor(fields) {
    super(fields.detail);
    Object.assign(this, fields);
    this.code = String(fields.type ?? '').split(':').pop();
  }
}

// Set by the shell: asks for the password again, and settles when it was given (or throws).
let giveFreshPassword = null;
export function onFreshLoginRequired(ask) { giveFreshPassword = ask; }

/**
 * One request. `path` without a leading slash, as `messages/…`; answers with what the body says.
 * @param {{body?: any, query?: Record<string, any>, headers?: Record<string, string>, signal?: AbortSignal,
 *          as?: 'operator'}} options `as: 'operator'` sends the operator token in the place of the user's.
 */
async function json(method, path, options = {}) {
  const answer = await send(method, path, options);
  return answer.status === 204 ? null : answer.json();
}

export const api = {
  get: (path, query, options) => json('GET', path, { ...options, query }),
  post: (path, body, options) => json('POST', path, { ...options, body }),
  put: (path, body, options) => json('PUT', path, { ...options, body }),
  patch: (path, body, options) => json('PATCH', path, { ...options, body }),
  del: (path, query, options) => json('DELETE', path, { ...options, query }),
  paged, stream, upload, download,
};

/** The answer itself, once it is a good one; throws `Problem`. Renews the access token once, asks for a fresh login once. */
export async function send(method, path, options = {}) {
  if (session.isDue && options.as !== 'operator') await renewOrThrow();
  let answer = await once(method, path, options);
  if (answer.status === 401 && session.token && options.as !== 'operator') {
    await renewOrThrow();
    answer = await once(method, path, options);
  }
  if (answer.ok) return answer;
  let problem = await problemOf(answer);
  if (problem.code === 'fresh-login-required' && giveFreshPassword) {
    await giveFreshPassword();
    answer = await once(method, path, options);
    if (answer.ok) return answer;
    problem = await problemOf(answer);
  }
  if (answer.status === 401 && session.token && options.as !== 'operator') end('Your session is over. Sign in again.');
  throw problem;
}

async function renewOrThrow() {
  let holds;
  try {
    holds = await renew();
  } catch (fields) {
    throw new Problem(fields);
  }
  if (!holds) throw new Problem({ status: 401, detail: 'Your session is over. Sign in again.' });
}

function once(method, path, { body, query, headers, signal, as } = {}) {
  const given = { ...headers };
  const token = as === 'operator' ? session.operatorToken : session.token;
  if (token) given.Authorization = `Bearer ${token}`;
  const isForm = body instanceof FormData;
  if (body !== undefined && !isForm) given['Content-Type'] = 'application/json';
  const sent = body === undefined || isForm ? body : JSON.stringify(body);
  return fetch(address(path, query), { method, headers: given, body: sent, signal, cache: 'no-store' }).catch(unreachable);
}

// An id comes from an address that anybody may have made up: as a step upwards it would take the token to another path.
const UPWARDS = /[/\\](\.|%2e){1,2}(?=[/\\]|$)/i;

function address(path, query) {
  if (UPWARDS.test(path)) throw new Problem({ status: 404, detail: 'There is no such resource.' });
  const said = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null && value !== '');
  const flat = said.flatMap(([name, value]) => [value].flat().map((one) => [name, String(one)]));
  const search = new URLSearchParams(flat).toString();
  return (path.startsWith('/') ? path : ROOT + path) + (search ? `?${search}` : '');
}

function unreachable(error) {
  if (error.name === 'AbortError') throw error;
  throw new Problem({ status: 0, detail: 'The service could not be reached. Is it running, and the network up?' });
}

async function problemOf(answer) {
  const said = await answer.json().catch(() => ({}));
  const requestId = answer.headers.get('X-Request-ID');
  return new Problem({
    status: answer.status, detail: answer.statusText || `Status ${answer.status}`, request_id: requestId,
    retry_after: Number(answer.headers.get('Retry-After')) || null, ...said,
  });
}

/** Pages of a list, by keyset: `next()` gives `{rows, more}`, with `more` false at the end. */
function paged(path, query = {}) {
  let following = { path, query };
  return {
    async next(signal) {
      const answer = await send('GET', following.path, { query: following.query, signal });
      const link = /<([^>]+)>; rel="next"/.exec(answer.headers.get('Link') ?? '');
      following = link ? { path: link[1] } : following;
      return { rows: await answer.json(), more: Boolean(link) };
    },
  };
}

/**
 * Server-Sent Events: `onEvent({event, id, data})` for each, `data` parsed. Settles when the stream has ended: with the
 * answer's JSON where it was no stream, else with null. Going on after `lastId` is the caller's: `messages/{id}/stream`.
 */
async function stream(path, body, onEvent, { signal, lastId, headers } = {}) {
  const given = { Accept: 'text/event-stream', ...headers };
  if (lastId) given['Last-Event-ID'] = lastId;
  const answer = await send(body ? 'POST' : 'GET', path, { body: body ?? undefined, headers: given, signal });
  if (answer.status === 204) return null;
  if (!answer.headers.get('Content-Type')?.startsWith('text/event-stream')) return answer.json();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = '';
  for (;;) {
    const { done, value } = await reader.read().catch(unreachable);
    if (done) return null;
    const events = (held + value).split('\n\n');
    held = events.pop();
    for (const event of events.map(parsed)) if (event) onEvent(event);
  }
}

function parsed(text) {
  const event = { event: 'message', id: null, data: '' };
  for (const line of text.split('\n')) {
    const [, name, value] = /^(event|id|data): ?(.*)$/.exec(line) ?? [];
    if (name) event[name] = name === 'data' && event.data ? `${event.data}\n${value}` : value;
  }
  return event.data ? { ...event, data: JSON.parse(event.data) } : null;
}

/** Send a form, with `onProgress(0…1)` on its way; the answer's JSON. (fetch does not say how much was sent.) */
async function upload(path, form, onProgress, { signal } = {}) {
  if (session.isDue) await renewOrThrow();
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', address(path));
    request.responseType = 'json';
    request.setRequestHeader('Authorization', `Bearer ${session.token}`);
    request.upload.onprogress = (event) => onProgress?.(event.lengthComputable ? event.loaded / event.total : undefined);
    request.onload = () => {
      if (request.status < 300) resolve(request.response);
      else reject(new Problem({ status: request.status, detail: request.statusText, ...request.response }));
    };
    request.onerror = () => reject(new Problem({ status: 0, detail: 'The connection broke while the file was sent.' }));
    request.onabort = () => reject(new DOMException('Stopped', 'AbortError'));
    signal?.addEventListener('abort', () => request.abort());
    request.send(form);
  });
}

/** Fetch a file and hand it to the browser to be saved; `onProgress(bytes)` on its way. */
async function download(path, name, onProgress, { signal } = {}) {
  const answer = await send('GET', path, { signal });
  const pieces = [];
  let received = 0;
  for (const reader = answer.body.getReader(); ;) {
    const { done, value } = await reader.read().catch(unreachable);
    if (done) break;
    pieces.push(value);
    onProgress?.(received += value.length);
  }
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob(pieces));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
