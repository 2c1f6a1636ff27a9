// What stands around every page: navigation, who is signed in, results that are told, and what is shown when a page breaks.
import { html, useEffect, useErrorBoundary, useRef, useState } from './vendor/preact-htm.js';
import { api, onFreshLoginRequired } from './api.js';
import { PAGES } from './pages.js';
import { href, onRoute, routeNow } from './router.js';
import { onSession, session, signOut } from './session.js';
import { SignIn, PasswordAgain } from './signin.js';
import { Button, Empty, Failure, Icon, Loading, announce, useAction } from './ui/index.js';
import { onAnnounce } from './ui/hooks.js';

export function Shell() {
  const [route, setRoute] = useState(routeNow);
  const [, changed] = useState(0);
  useEffect(() => onRoute(setRoute), []);
  useEffect(() => onSession(() => changed((before) => before + 1)), []);
  const { me } = session;
  const page = PAGES.find((one) => one.path === route.page);
  const shown = PAGES.filter((one) => (me || session.operatorToken) && one.who({ me, operator: Boolean(session.operatorToken) }));
  if (!me && !page?.open) return html`<${Tells} /><${SignIn} notice=${session.notice} />`;
  return html`<${Tells} /><${Fresh} />
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <div class="shell"><${Side} pages=${shown} route=${route} me=${me} />
      <main id="main" tabindex="-1"><${Stage} key="${me?.id} ${route.page}" page=${page} route=${route} me=${me} /></main></div>`;
}

function skip(event) {
  event.preventDefault();
  document.getElementById('main').focus();
}

function Side({ pages, route, me }) {
  const [open, setOpen] = useState(false);
  const [leave, leaving, problem] = useAction(() => signOut());
  useEffect(() => setOpen(false), [route.address]);
  return html`<header class="side ${open ? 'open' : ''}"><nav aria-label="Pages">
    <div class="brand"><a href=${href()}><span class="mark" aria-hidden="true" />Console</a>
      <${Button} kind="quiet menu" icon=${open ? 'close' : 'menu'} label=${open ? 'Close the menu' : 'Menu'} aria-expanded=${open} onClick=${() => setOpen(!open)} /></div>
    <div class="fold"><ul>${pages.map((one) => html`<li><a href=${href(one.path)} aria-current=${one.path === route.page ? 'page' : undefined}>
        <${Icon} name=${one.icon} />${one.title}</a></li>`)}</ul>
      <div class="who">${me ? html`<p title=${me.email}><span class="email">${me.email}</span><span class="muted">${me.role}</span></p>` : html`<p><a href=${href()}>Sign in</a></p>`}
        <div class="row"><${Theme} />${me && html`<${Button} kind="quiet" icon="out" label="Sign out" busy=${leaving} onClick=${leave} />`}</div>
        <${Failure} problem=${problem} /></div></div>
  </nav></header>`;
}

const THEMES = [['auto', 'As the system'], ['light', 'Light'], ['dark', 'Dark']];

function Theme() {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme);
  const at = THEMES.findIndex(([name]) => name === theme);
  const turn = () => {
    const [next, words] = THEMES[(at + 1) % THEMES.length];
    document.documentElement.dataset.theme = next;
    localStorage.setItem('console.theme', next);
    setTheme(next);
    announce(`Colours: ${words}`);
  };
  return html`<${Button} kind="quiet" icon=${theme} label="Colours: ${THEMES[at][1]}" onClick=${turn} />`;
}

/** The page of the address, once its module is there. */
function Stage({ page, route, me }) {
  const [loaded, setLoaded] = useState({});
  const [broken, mend] = useErrorBoundary((error) => console.error(error));
  useEffect(() => {
    document.title = `${page?.title ?? 'Not found'} · Console`;
    if (!page) return;
    page.load().then((module) => setLoaded({ Page: module.default }), (error) => setLoaded({ error }));
  }, []);
  useFocusOnArrival(Boolean(loaded.Page), route);
  const allowed = page && (page.open || page.who({ me, operator: Boolean(session.operatorToken) }));
  if (!page) return html`<${Empty} title="There is no such page" action=${html`<a href=${href()}>Go to the overview</a>`} />`;
  if (!allowed) return html`<${Empty} title="This page is not for your role" action=${html`<a href=${href()}>Go to the overview</a>`}>What it shows is for admins of the tenant.</${Empty}>`;
  if (broken) return html`<${Broken} error=${broken} onRetry=${mend} />`;
  if (loaded.error) return html`<${Broken} error=${{ message: 'It could not be loaded: a new version of the service may have come.' }} onRetry=${() => location.reload()} />`;
  return loaded.Page ? html`<${loaded.Page} api=${api} me=${me} route=${route} />` : html`<${Loading} />`;
}

function Broken({ error, onRetry }) {
  return html`<${Empty} title="This page broke" action=${html`<${Button} icon="retry" onClick=${onRetry}>Try again</${Button}>`}>${error.message}</${Empty}>`;
}

/** After a step to another page its heading has the focus, so that it is read and the keyboard goes on from there. */
function useFocusOnArrival(ready, route) {
  const seen = useRef(null);
  useEffect(() => {
    const place = `${route.page}/${route.id}`;
    if (!ready || seen.current === place) return;
    seen.current = place;
    if (arrived) {
      scrollTo(0, 0);
      document.querySelector('main h1')?.focus({ preventScroll: true });
    }
    arrived = true;
  }, [ready, route.page, route.id]);
}
// The first page of all is where the browser put the focus.
let arrived = false;

/** Asks for the password where the service wants one that was just given. */
function Fresh() {
  const [waiting, setWaiting] = useState(null);
  useEffect(() => onFreshLoginRequired(() => new Promise((resolve, reject) => setWaiting({ resolve, reject }))), []);
  if (!waiting) return null;
  const settle = (given) => {
    setWaiting(null);
    if (given) waiting.resolve();
    else waiting.reject(new DOMException('No password was given', 'AbortError'));
  };
  return html`<${PasswordAgain} onClose=${settle} />`;
}

/** Results: shown for a moment, and read out. */
function Tells() {
  const [told, setTold] = useState([]);
  useEffect(() => onAnnounce((text, kind) => {
    const one = { text, kind, key: performance.now() };
    setTold((before) => [...before.slice(-3), one]);
    setTimeout(() => setTold((before) => before.filter((other) => other !== one)), 6000);
  }), []);
  return html`<div class="tells" aria-live="polite" role="status">${told.map((one) => html`<p key=${one.key} class=${one.kind}>${one.text}</p>`)}</div>`;
}
