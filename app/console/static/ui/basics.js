// The smallest parts: buttons, notes, badges, and what a page is put together from.
import { html, useEffect, useRef, useState } from '../vendor/preact-htm.js';
import { percent } from '../format.js';
import { announce } from './hooks.js';
import { Icon } from './icons.js';

/** `kind`: 'primary', 'danger', 'quiet' or none. `busy` shows that it works, and takes no second click. */
export function Button({ kind = '', busy = false, icon, label, children, type = 'button', ...rest }) {
  return html`<button type=${type} class="button ${kind} ${children ? '' : 'only-icon'}" aria-label=${label} title=${label}
    aria-busy=${busy} aria-disabled=${busy || undefined} ...${rest} onClick=${busy ? stop : rest.onClick}>
    ${busy ? html`<span class="spinner" />` : icon && html`<${Icon} name=${icon} />`}${children && html`<span>${children}</span>`}
  </button>`;
}

function stop(event) { event.preventDefault(); }

/** A link that looks like a button. */
export function ButtonLink({ kind = '', icon, children, ...rest }) {
  return html`<a class="button ${kind}" ...${rest}>${icon && html`<${Icon} name=${icon} />`}<span>${children}</span></a>`;
}

/** `kind`: 'good', 'bad', 'warn', 'live' or none. */
export function Badge({ kind = '', children }) {
  return html`<span class="badge ${kind}">${children}</span>`;
}

/** What went wrong, for people, with what to quote when it is reported. Nothing without a `problem`. */
export function Failure({ problem, onRetry }) {
  const box = useRef();
  useEffect(() => {
    if (!problem || !box.current) return;
    const { top, bottom } = box.current.getBoundingClientRect();
    if (top < 0 || bottom > innerHeight) box.current.scrollIntoView({ block: 'nearest' });
  }, [problem]);
  if (!problem) return null;
  return html`<div class="failure" role="alert" ref=${box}>
    <p><strong>${problem.detail || String(problem)}</strong></p>
    ${problem.errors && html`<ul>${problem.errors.map((one) => html`<li><code>${place(one.loc)}</code> ${one.msg}</li>`)}</ul>`}
    ${problem.retry_after && html`<p>Try again in ${problem.retry_after} seconds.</p>`}
    ${problem.request_id && html`<p class="muted">Request <code>${problem.request_id}</code></p>`}
    ${onRetry && html`<p><${Button} icon="retry" onClick=${onRetry}>Try again</${Button}></p>`}
  </div>`;
}

const place = (loc) => loc.filter((part) => !['body', 'query', 'path', 'header'].includes(part)).join('.') || loc.join('.');

/** That there is nothing, and what to do next. */
export function Empty({ title, children, action }) {
  return html`<div class="empty"><h2>${title}</h2>${children && html`<p>${children}</p>`}${action && html`<p>${action}</p>`}</div>`;
}

/** `value` from 0 to 1; without one it is not known how far it is. */
export function Progress({ value, label }) {
  const known = value !== undefined && value !== null;
  return html`<div class="progress"><progress key=${known} aria-label=${label} max="1" ...${known ? { value } : {}} />
    <span>${label}${known ? ` ${percent(value)}` : ' …'}</span></div>`;
}

/** How much of a whole is used; `kind` as a badge's. */
export function Meter({ part, label, kind = '' }) {
  const width = `${Math.min(Math.max(part, 0), 1) * 100}%`;
  return html`<div class="meter ${kind}" role="meter" aria-label=${label} aria-valuemin="0" aria-valuemax="1"
    aria-valuenow=${Math.min(part, 1)} aria-valuetext=${percent(part)}><span style=${{ width }} /></div>`;
}

export function Loading({ label = 'Loading' }) {
  return html`<p class="loading" role="status"><span class="spinner" />${label} …</p>`;
}

/** The head of a page; `back`: address and title of the one above it. Its heading is what has the focus after a page was opened. */
export function PageHead({ title, children, note, back }) {
  return html`<header class="page-head"><div>${back && html`<p><a href=${back[0]}>${back[1]}</a></p>`}<h1 tabindex="-1">${title}</h1>${note && html`<p class="muted">${note}</p>`}</div>
    ${children && html`<div class="actions">${children}</div>`}</header>`;
}

export function Card({ title, note, actions, children, kind = '' }) {
  return html`<section class="card ${kind}">${(title || actions) && html`<header><div><h2>${title}</h2>
    ${note && html`<p class="muted">${note}</p>`}</div>${actions && html`<div class="actions">${actions}</div>`}</header>`}
    ${children}</section>`;
}

/** A figure with its name. */
export function Figure({ label, children, note }) {
  return html`<div class="figure"><dt>${label}</dt><dd>${children}</dd>${note && html`<dd class="muted">${note}</dd>`}</div>`;
}

/** Names and values, one a line; `rows` are `[name, value]`, those without a value are left out. */
export function Facts({ rows }) {
  const said = rows.filter(([, value]) => value !== null && value !== undefined && value !== '');
  return html`<dl class="facts">${said.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/** `tabs`: `[{id, label, count}]`; the arrow keys go from one to the next. */
export function Tabs({ label, tabs, current, onChange }) {
  const row = useRef();
  const turn = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = (tabs.findIndex((tab) => tab.id === current) + step + tabs.length) % tabs.length;
    onChange(tabs[at].id);
    row.current.children[at].focus();
  };
  return html`<div class="tabs" role="tablist" aria-label=${label} ref=${row} onKeyDown=${turn}>${tabs.map((tab) => html`
    <button type="button" role="tab" aria-selected=${tab.id === current} tabindex=${tab.id === current ? 0 : -1}
      onClick=${() => onChange(tab.id)}>${tab.label}${tab.count !== undefined && html` <span class="muted">${tab.count}</span>`}</button>`)}</div>`;
}

/** A text that is often copied: an id, a key that is shown once. */
export function Copy({ text, label = 'Copy', children }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    announce('Copied');
    setTimeout(() => setDone(false), 2000);
  };
  return html`<span class="copy"><code>${children ?? text}</code><${Button} kind="quiet small" icon="copy" label=${done ? 'Copied' : label} onClick=${copy} /></span>`;
}
