// Tables of any length: pages are loaded as they come into sight, and only rows in sight are in the document.
import { html, useEffect, useLayoutEffect, useRef, useState } from '../vendor/preact-htm.js';
import { navigate } from '../router.js';
import { Button, Failure, Loading } from './basics.js';

// As in the style sheet: a row is as high as its neighbour, whatever it holds.
const ROW = 44;
const BEYOND = 12;

/**
 * `columns`: `[{title, cell: (row) => …, width: '8rem', end: true, wide: true}]`; `end` aligns figures, `wide` leaves it
 * out on narrow screens. The first one is a link where `href(row)` gives an address. `list`: of `useList`, or `whole(rows)`.
 * `empty` is shown where there is nothing. Arrow keys, Home and End go from row to row.
 */
export function Table({ label, columns, list, href, empty, rowKey = (row) => row.id }) {
  const body = useRef();
  const range = useRange(body, list);
  const { rows } = list;
  if (!rows.length && !list.more && !list.loading && !list.problem) return empty ?? html`<p class="muted">Nothing.</p>`;
  const [first, last] = [Math.min(range[0], rows.length), Math.min(range[1], rows.length)];
  return html`<div class="table"><table aria-label=${label} aria-rowcount=${list.more ? -1 : rows.length + 1}>
    <colgroup>${columns.map((one) => html`<col class=${one.wide ? 'wide-only' : ''} style=${one.width && { width: one.width }} />`)}</colgroup>
    <thead><tr aria-rowindex="1">${columns.map((one) => html`<th scope="col" class=${classes(one)}>${one.title}</th>`)}</tr></thead>
    <tbody ref=${body} onKeyDown=${walk}>
      ${first > 0 && html`<${Gap} key="before" rows=${first} />`}
      ${rows.slice(first, last).map((row, index) => html`<${Row} key=${rowKey(row)} row=${row} columns=${columns} address=${href?.(row)} index=${first + index + 2} />`)}
      ${last < rows.length && html`<${Gap} key="after" rows=${rows.length - last} />`}
    </tbody></table>
    <${Foot} list=${list} /></div>`;
}

function Row({ row, columns, address, index }) {
  const open = (event) => {
    if (!event.defaultPrevented && !event.target.closest('a, button, input, select') && !String(getSelection())) navigate(address);
  };
  return html`<tr aria-rowindex=${index} class=${address ? 'opens' : ''} onClick=${address ? open : undefined}>${columns.map((one, at) => html`
    <${Cell} column=${one} content=${one.cell(row)} address=${at === 0 ? address : undefined} />`)}</tr>`;
}

/** What is cut for want of room is told by its title. */
function Cell({ column, content, address }) {
  const told = typeof content === 'string' ? content : undefined;
  return html`<td class=${classes(column)} title=${told}>${address ? html`<a href=${address}>${content}</a>` : content}</td>`;
}

function Gap({ rows }) {
  return html`<tr class="gap" aria-hidden="true"><td style=${{ height: `${rows * ROW}px` }} /></tr>`;
}

function Foot({ list }) {
  if (list.problem) return html`<${Failure} problem=${list.problem} onRetry=${list.rows.length ? list.loadMore : list.reload} />`;
  if (list.loading) return html`<${Loading} />`;
  if (list.more && list.waits) return html`<p class="foot"><${Button} onClick=${list.loadMore}>Look further</${Button}> <span class="muted">Nothing found in the newest ones.</span></p>`;
  return null;
}

/** Which rows are in sight, and a little beyond; asks for more as their end comes near. */
function useRange(body, list) {
  const [range, setRange] = useState([0, 40]);
  const latest = useRef(list);
  latest.current = list;
  const measure = () => {
    if (!body.current) return;
    const { top } = body.current.getBoundingClientRect();
    const now = [Math.max(0, Math.floor(-top / ROW) - BEYOND), Math.max(0, Math.ceil((innerHeight - top) / ROW)) + BEYOND];
    setRange((before) => (before[0] === now[0] && before[1] === now[1] ? before : now));
    const { more, loading, problem, waits, rows, loadMore } = latest.current;
    if (more && !loading && !problem && !waits && now[1] >= rows.length) loadMore();
  };
  useLayoutEffect(measure, [list.rows, list.loading]);
  useEffect(() => {
    let asked = 0;
    const later = () => { asked ||= requestAnimationFrame(() => { asked = 0; measure(); }); };
    addEventListener('scroll', later, { passive: true });
    addEventListener('resize', later);
    return () => {
      cancelAnimationFrame(asked);
      removeEventListener('scroll', later);
      removeEventListener('resize', later);
    };
  }, []);
  return range;
}

function walk(event) {
  const row = event.target.closest('tr');
  const to = {
    ArrowDown: () => row.nextElementSibling, ArrowUp: () => row.previousElementSibling,
    Home: () => row.parentElement.firstElementChild, End: () => row.parentElement.lastElementChild,
  }[event.key]?.();
  const target = to?.querySelector('a, button');
  if (!target || event.target.matches('input, select, textarea')) return;
  event.preventDefault();
  target.focus();
}

const classes = (column) => [column.end && 'end', column.wide && 'wide-only'].filter(Boolean).join(' ');
