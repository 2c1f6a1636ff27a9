// Charts by uPlot, which is fetched where the first one is shown. The height is the style sheet's: nothing moves when one comes.
import { html, useEffect, useRef, useState } from '../vendor/preact-htm.js';

const vendored = (name) => new URL(`../vendor/${name}`, import.meta.url).href;
let library;

/** uPlot; its package has no minified module, so it is a script that says its name. */
function uPlot() {
  library ??= new Promise((resolve, reject) => {
    const style = Object.assign(document.createElement('link'), { rel: 'stylesheet', href: vendored('uplot.css') });
    const script = Object.assign(document.createElement('script'), { src: vendored('uplot.js') });
    script.onload = () => resolve(window.uPlot);
    script.onerror = () => reject(new Error('The chart could not be loaded.'));
    document.head.append(style, script);
  });
  return library;
}

/**
 * Bars side by side in time, `series` stacked upon each other: `[{name, values, bad}]`, a value for each of `labels`.
 * `format` writes a value, `brief` one at the axis, which reaches to `least` in any case. What it shows is there as a table, too.
 */
export function Chart({ label, labels, series, format = String, brief = format, least = 1 }) {
  const box = useRef();
  const legend = useRef();
  const [at, setAt] = useState(null);
  const [failed, setFailed] = useState(false);
  const theme = useTheme();
  const shown = JSON.stringify([labels, series, theme]);
  useEffect(() => {
    let plot;
    let over = false;
    const fit = new ResizeObserver(() => plot?.setSize({ width: box.current.clientWidth, height: box.current.clientHeight }));
    uPlot().then((Plot) => {
      if (over) return;
      plot = new Plot(options(Plot, box.current, legend.current, { labels, series, brief, least, setAt }), data(labels, series), box.current);
      fit.observe(box.current);
    }, () => setFailed(true));
    return () => {
      over = true;
      fit.disconnect();
      plot?.destroy();
    };
  }, [shown]);
  return html`<figure class="chart" aria-label=${label}>
    <div class="plot" ref=${box} aria-hidden="true">${failed && html`<p class="muted">The chart could not be loaded.</p>`}
      ${at !== null && html`<${Tip} at=${at} labels=${labels} series=${series} format=${format} />`}</div>
    <figcaption ref=${legend} class="legend">${series.map((one, index) => html`<span><i class="swatch ${colour(one, index)}" />${one.name}</span>`)}</figcaption>
    <details class="as-table"><summary>As a table</summary><div class="scrolls"><table><thead><tr><th scope="col">Day</th>${series.map((one) => html`<th scope="col" class="end">${one.name}</th>`)}</tr></thead>
      <tbody>${labels.map((name, row) => html`<tr><th scope="row">${name}</th>${series.map((one) => html`<td class="end">${format(one.values[row])}</td>`)}</tr>`)}</tbody></table></div></details>
  </figure>`;
}

function Tip({ at, labels, series, format }) {
  const said = series.map((one, index) => [one, index]).filter(([one]) => one.values[at.index]);
  const side = at.left > at.width / 2 ? { right: `${at.width - at.left + 14}px` } : { left: `${at.left + 14}px` };
  return html`<div class="tip" style=${side}><strong>${labels[at.index]}</strong>${said.length ? said.map(([one, index]) => html`
    <span><i class="swatch ${colour(one, index)}" />${one.name}<b>${format(one.values[at.index])}</b></span>`) : html`<span>nothing</span>`}</div>`;
}

const colour = (one, index) => (one.bad ? 'bad' : `s${(index % 8) + 1}`);

/** From the top of the stack down, each from zero to where it ends: the lower ones are drawn over the higher ones. */
function data(labels, series) {
  const ends = series.reduce((sums, one) => {
    const below = sums.at(-1);
    return [...sums, one.values.map((value, index) => (value ?? 0) + (below?.[index] ?? 0))];
  }, []);
  return [labels.map((_, index) => index), ...ends.reverse()];
}

function options(Plot, box, legend, { labels, series, brief, least, setAt }) {
  // As many as the values that are drawn: the legend may be of the next ones already, whose effect is yet to come.
  const swatches = legend.querySelectorAll('.swatch');
  const colours = series.map((_, index) => (swatches[index] ? getComputedStyle(swatches[index]).backgroundColor : 'transparent'));
  const { color: ink, borderColor: line, fontFamily } = getComputedStyle(box);
  const axis = { stroke: ink, font: `11px ${fontFamily}`, ticks: { show: false } };
  const paths = Plot.paths.bars({ size: [0.7, 40], radius: 0.12 });
  return {
    width: box.clientWidth, height: box.clientHeight, legend: { show: false }, padding: [10, 4, 0, 0],
    scales: { x: { time: false, range: [-0.6, labels.length - 0.4] }, y: { range: (_, __, top) => [0, Math.max(top * 1.05, least)] } },
    series: [{}, ...colours.toReversed().map((fill) => ({ fill, width: 0, paths, points: { show: false } }))],
    axes: [
      { ...axis, grid: { show: false }, size: 26, gap: 4, incrs: [1, 2, 3, 7, 14, 30], space: 54, values: (_, found) => found.map((index) => labels[index] ?? '') },
      { ...axis, grid: { stroke: line, width: 1 }, size: 60, values: (_, found) => found.map((value) => brief(value)) },
    ],
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    hooks: { setCursor: [(plot) => setAt(plot.cursor.idx === null ? null : { index: plot.cursor.idx, left: plot.cursor.left + plot.bbox.left / devicePixelRatio, width: box.clientWidth })] },
  };
}

/** Changes when colours do: a canvas keeps those that it was drawn with. */
function useTheme() {
  const [theme, setTheme] = useState(0);
  useEffect(() => {
    const changed = () => setTheme((before) => before + 1);
    const system = matchMedia('(prefers-color-scheme: dark)');
    const chosen = new MutationObserver(changed);
    system.addEventListener('change', changed);
    chosen.observe(document.documentElement, { attributeFilter: ['data-theme'] });
    return () => {
      system.removeEventListener('change', changed);
      chosen.disconnect();
    };
  }, []);
  return theme;
}
