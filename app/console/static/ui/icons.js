// Small drawings, 16 by 16, in the colour of the text beside them.
import { html } from '../vendor/preact-htm.js';

const PATHS = {
  overview: 'M2.5 13.5v-5h3v5zM6.5 13.5v-11h3v11zM10.5 13.5v-8h3v8z',
  messages: 'M2.5 3.5h11v7.5h-6l-3 2.5v-2.5h-2z',
  try: 'M4 2.5l9 5.5-9 5.5z',
  documents: 'M4 1.5h5l3.5 3.5v9.5H4zM9 1.5V5h3.5M6 8h4.5M6 10.5h4.5',
  people: 'M6 7.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM1.5 13.5c0-2.5 2-4 4.5-4s4.5 1.5 4.5 4M10.5 2.8a2.5 2.5 0 0 1 0 4.4M12 9.8c1.6.6 2.5 1.9 2.5 3.7',
  keys: 'M10.5 8.5a3 3 0 1 0-2.8-2L2.5 11.7v1.8h2.5v-1.5h1.5v-1.5h1.5l1.3-1.9c.4.1.8.1 1.2.1z',
  budgets: 'M8 1.5v13M11 4.3c-.7-.9-1.8-1.3-3-1.3-1.7 0-3 .9-3 2.4 0 3.4 6.3 1.7 6.3 5 0 1.6-1.5 2.6-3.3 2.6-1.4 0-2.6-.5-3.3-1.5',
  audit: 'M8 1.5l5 2v4c0 3.5-2.2 5.8-5 7-2.8-1.2-5-3.5-5-7v-4zM5.8 8l1.6 1.6 2.9-3.1',
  settings: 'M2 4.5h7M12 4.5h2M2 11.5h2M7 11.5h7M9 2.8v3.4h3v-3.4zM4 9.8v3.4h3v-3.4z',
  tenants: 'M2.5 14V4l5-2.5V14M7.5 6.5h6V14M1.5 14h13M4.5 6v0M4.5 9v0M10.5 9.5v0',
  menu: 'M2.5 4.5h11M2.5 8h11M2.5 11.5h11',
  close: 'M4 4l8 8M12 4l-8 8',
  out: 'M6.5 2.5h-4v11h4M10 5l3 3-3 3M13 8H6',
  light: 'M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6zM8 1.5v1.5M8 13v1.5M1.5 8H3M13 8h1.5M3.4 3.4l1 1M11.6 11.6l1 1M12.6 3.4l-1 1M4.4 11.6l-1 1',
  dark: 'M13.3 9.5A5.8 5.8 0 0 1 6.5 2.7a5.8 5.8 0 1 0 6.8 6.8z',
  auto: 'M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11',
  up: 'M8 13V3M4 7l4-4 4 4',
  retry: 'M13 8a5 5 0 1 1-1.5-3.5M13 2.5v2.5h-2.5',
  stop: 'M4 4h8v8H4z',
  bin: 'M3 4.5h10M6.5 4V2.5h3V4M4.5 4.5l.5 9h6l.5-9',
  plus: 'M8 3v10M3 8h10',
  search: 'M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM10.5 10.5l3 3',
  download: 'M8 2.5v8M4.5 7.5L8 11l3.5-3.5M2.5 13.5h11',
  copy: 'M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3',
  link: 'M6 3.5H3v9.5h9.5V10M9 2.5h4.5V7M13.5 2.5L7.5 8.5',
};

export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false">
    <path d=${PATHS[name]} /></svg>`;
}
