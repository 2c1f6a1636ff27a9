// Starts the console: goes on with the session that this browser kept, then shows the page of the address.
import { html, render } from './vendor/preact-htm.js';
import { restore } from './session.js';
import { Shell } from './shell.js';

document.documentElement.dataset.theme = localStorage.getItem('console.theme') ?? 'auto';
restore().finally(() => {
  const app = document.getElementById('app');
  app.replaceChildren();
  render(html`<${Shell} />`, app);
});
