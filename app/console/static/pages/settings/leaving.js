// Taking everything along, and erasing it.
import { html, useRef, useState } from '../../vendor/preact-htm.js';
import { bytes } from '../../format.js';
import { forget } from '../../session.js';
import { Button, Card, Confirm, Failure, Progress, announce, useAction } from '../../ui/index.js';

export function Export({ api, tenant }) {
  const [received, setReceived] = useState(null);
  const stop = useRef(null);
  const [run, busy, problem] = useAction(async () => {
    stop.current = new AbortController();
    setReceived(0);
    const name = `${tenant.name.replace(/[^\p{L}\p{N}]+/gu, '-')}.ndjson`;
    await api.download(`tenants/${tenant.id}/export`, name, setReceived, { signal: stop.current.signal });
    announce('The export is saved');
  });
  return html`<${Card} title="Export" note="All that the tenant owns, as lines of JSON: people, messages, conversations, documents, usage, the audit log. Without passwords and keys.">
    ${busy && html`<${Progress} label=${`${bytes(received)} so far`} />`}
    ${!busy && received > 0 && !problem && html`<p class="muted">${bytes(received)} were saved.</p>`}
    <${Failure} problem=${problem} />
    <div class="actions"><${Button} icon="download" busy=${busy} onClick=${run}>Download</${Button}>
      ${busy && html`<${Button} onClick=${() => stop.current.abort()}>Stop</${Button}>`}</div></${Card}>`;
}

export function Erase({ api, tenant }) {
  const [asks, ask] = useState(false);
  const erase = async (name) => {
    await api.del(`tenants/${tenant.id}`, { name });
    forget(`${tenant.name} was erased, with all it owned.`);
  };
  return html`<${Card} title="Erase the tenant" kind="danger" note="With its people, messages, documents and keys, for good. Nobody gets in from the first moment on.">
    <div class="actions"><${Button} kind="danger" icon="bin" onClick=${() => ask(true)}>Erase ${tenant.name}</${Button}></div>
    ${asks && html`<${Confirm} title="Erase the tenant?" name=${tenant.name} action="Erase it for good" act=${erase} onClose=${() => ask(false)}>
      <p>Everything that it owns is deleted, in this service and for everybody. There is no way back: an export is what can be kept.</p></${Confirm}>`}</${Card}>`;
}
