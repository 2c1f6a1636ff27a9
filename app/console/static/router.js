// Addresses below /console and what is shown for them, by the history of the browser: every view has a link.
import { ROOT } from './session.js';

export const BASE = `${ROOT}console`;
const listeners = new Set();

/** The present address: `page` ('' is the first one), `id` ('' without), `query`. */
export function routeNow() {
  const rest = decodeURI(location.pathname.slice(BASE.length)).replace(/^\/|\/$/g, '');
  const [page, ...id] = rest.split('/');
  return { page, id: id.join('/'), query: new URLSearchParams(location.search), address: location.pathname + location.search };
}

/** The address of a page: `href('messages', id, {status: 'failed'})`. What is empty of the query is left out. */
export function href(page = '', id = '', query = {}) {
  const said = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== '');
  const path = [BASE, page, id].filter(Boolean).map((part, index) => (index ? encodeURI(part) : part)).join('/');
  return said.length ? `${path}?${new URLSearchParams(said)}` : path;
}

/** Go there. `replace`: without a step to go back to, as for a filter that is being typed. */
export function navigate(address, { replace = false } = {}) {
  if (address === location.pathname + location.search) return;
  history[replace ? 'replaceState' : 'pushState'](null, '', address);
  tell();
}

export function onRoute(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tell() {
  for (const listener of listeners) listener(routeNow());
}

addEventListener('popstate', tell);

// Links within the console are followed here; with a modifier, another button or a target they are the browser's.
document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href]');
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const inside = link.origin === location.origin && (link.pathname === BASE || link.pathname.startsWith(`${BASE}/`));
  if (!inside || link.target || link.hasAttribute('download') || link.getAttribute('href').startsWith('#')) return;
  event.preventDefault();
  navigate(link.pathname + link.search);
});
