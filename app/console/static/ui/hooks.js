// What components do over time: load, act, page through a list, and tell what came of it.
import { useCallback, useEffect, useRef, useState } from '../vendor/preact-htm.js';
import { api } from '../api.js';

let say = () => {};
/** Set by the shell: shows a result for a moment, and has it read out. */
export function onAnnounce(show) { say = show; }
export function announce(text, kind = 'done') { say(text, kind); }

/** `load({signal})` now and whenever `on` changes: `{data, problem, loading, reload, set}`. What was loaded stays while it loads again. */
export function useLoad(load, on = []) {
  const [state, set] = useState({ data: undefined, problem: null, loading: true });
  const [round, setRound] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    set((before) => ({ ...before, problem: null, loading: true }));
    Promise.resolve(load({ signal: stop.signal })).then(
      (data) => { if (!stop.signal.aborted) set({ data, problem: null, loading: false }); },
      (problem) => { if (!stop.signal.aborted) set((before) => ({ ...before, problem, loading: false })); },
    );
    return () => stop.abort();
  }, [...on, round]);
  const reload = useCallback(() => setRound((before) => before + 1), []);
  return { ...state, reload, set: (data) => set({ data, problem: null, loading: false }) };
}

/** Something that a person does: `[run, busy, problem]`. What fails is `problem` until the next try; a second click waits. */
export function useAction(act) {
  const [state, set] = useState({ busy: false, problem: null });
  const running = useRef(false);
  const alive = useAlive();
  const run = async (...given) => {
    if (running.current) return undefined;
    running.current = true;
    set({ busy: true, problem: null });
    try {
      const result = await act(...given);
      if (alive.current) set({ busy: false, problem: null });
      return result;
    } catch (problem) {
      if (alive.current) set({ busy: false, problem: problem.name === 'AbortError' ? null : problem });
      return undefined;
    } finally {
      running.current = false;
    }
  };
  return [run, state.busy, state.problem];
}

export function useAlive() {
  const alive = useRef(true);
  useEffect(() => () => { alive.current = false; }, []);
  return alive;
}

/** Call `act` every so often, while the page is looked at; not again before it has settled. 0: not at all. */
export function useEvery(ms, act) {
  const latest = useRef(act);
  latest.current = act;
  useEffect(() => {
    if (!ms) return undefined;
    let timer;
    let over = false;
    const next = async () => {
      if (!document.hidden) await Promise.resolve(latest.current()).catch(() => {});
      if (!over) timer = setTimeout(next, ms);
    };
    timer = setTimeout(next, ms);
    return () => { over = true; clearTimeout(timer); };
  }, [ms]);
}

/** `value`, once it has not changed for a moment: for what is typed. */
export function useSettled(value, ms = 300) {
  const [settled, settle] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => settle(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return settled;
}

const NOTHING = { rows: [], more: true, loading: true, problem: null, barren: 0 };
// A search may answer with pages that hold nothing yet: so many in a row are passed over unasked.
const BARREN = 8;

/**
 * The rows of a list by keyset, as a `Table` takes them: `{rows, more, loading, problem, loadMore, reload, put, drop}`.
 * It begins anew when `path` or what `query` says changes. `put(row)` shows a row as it is now, a new one on top.
 */
export function useList(path, query = {}, { limit = 100, key = (row) => row.id } = {}) {
  const asked = JSON.stringify([path, query, limit]);
  const [state, set] = useState(NOTHING);
  const [round, setRound] = useState(0);
  const pages = useRef(null);
  const load = useCallback(async (source) => {
    if (!source || source.busy) return;
    source.busy = true;
    set((before) => ({ ...before, loading: true, problem: null }));
    try {
      const page = await source.pages.next(source.stop.signal);
      if (source === pages.current) set((before) => joined(before, page, key));
    } catch (problem) {
      if (source === pages.current && problem.name !== 'AbortError') set((before) => ({ ...before, loading: false, problem }));
    }
    source.busy = false;
  }, []);
  useEffect(() => {
    const source = { pages: api.paged(path, { ...query, limit }), stop: new AbortController(), busy: false };
    pages.current = source;
    set(NOTHING);
    load(source);
    return () => source.stop.abort();
  }, [asked, round]);
  return {
    ...state,
    waits: state.barren >= BARREN,
    loadMore: useCallback(() => load(pages.current), []),
    reload: useCallback(() => setRound((before) => before + 1), []),
    put: useCallback((row) => set((before) => replaced(before, row, key)), []),
    drop: useCallback((id) => set((before) => ({ ...before, rows: before.rows.filter((row) => key(row) !== id) })), []),
  };
}

/** A list that is there as a whole. */
export function whole(rows, { loading = false, problem = null, reload } = {}) {
  return { rows: rows ?? [], more: false, loading, problem, reload, loadMore: () => {}, waits: false };
}

function joined(before, page, key) {
  const known = new Set(before.rows.map(key));
  const rows = [...before.rows, ...page.rows.filter((row) => !known.has(key(row)))];
  return { rows, more: page.more, loading: false, problem: null, barren: page.rows.length ? 0 : before.barren + 1 };
}

function replaced(before, row, key) {
  const at = before.rows.findIndex((one) => key(one) === key(row));
  const rows = at < 0 ? [row, ...before.rows] : before.rows.with(at, row);
  return { ...before, rows };
}
