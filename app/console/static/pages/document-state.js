// How far a document is.
import { html } from '../vendor/preact-htm.js';
import { Badge } from '../ui/index.js';

export const isUnfinished = (row) => row.status === 'queued' || row.status === 'processing';

const KINDS = { ready: 'good', failed: 'bad', processing: 'live', queued: '' };
const WORDS = { ready: 'ready', failed: 'failed', queued: 'waiting' };

export function State({ row }) {
  const words = row.status === 'processing' ? `reading ${row.progress} %` : WORDS[row.status];
  return html`<span title=${row.error ?? ''}><${Badge} kind=${KINDS[row.status]}>${words}</${Badge}></span>`;
}
