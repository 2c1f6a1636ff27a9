// The tenant's own keys at providers: from the next message on its calls go with them.
import { html, useState } from '../../vendor/preact-htm.js';
import { time } from '../../format.js';
import { Button, Card, Confirm, Dialog, Empty, Failure, Field, Form, announce, errorOf, useAction, useLoad } from '../../ui/index.js';

const KNOWN = [['openai', 'OpenAI, or a compatible server'], ['anthropic', 'Anthropic'], ['', 'Another account of the service']];

export function ProviderKeys({ api }) {
  const keys = useLoad(({ signal }) => api.get('admin/providers', {}, { signal }));
  const [open, setOpen] = useState(null);
  const done = () => {
    setOpen(null);
    keys.reload();
  };
  const off = keys.problem?.status === 501;
  return html`<${Card} kind="of-keys" title="Keys at providers" note="With a key of its own the tenant’s calls go to that account, never to the service’s."
      actions=${!off && html`<${Button} icon="plus" onClick=${() => setOpen({ kind: 'set' })}>Set a key</${Button}>`}>
    ${off ? html`<p class="muted">${keys.problem.detail}</p>` : html`<${Failure} problem=${keys.problem} onRetry=${keys.reload} />`}
    ${keys.data?.length === 0 && html`<${Empty} title="The service’s own keys are used" />`}
    <ul class="lines">${(keys.data ?? []).map((one) => html`<li><div><strong>${one.provider}</strong> <code>…${one.last_four ?? '????'}</code>
        <p class="muted">${one.base_url ?? 'Where the service asks it'}; set ${time(one.set_at)}</p></div>
      <${Button} kind="quiet" icon="bin" label=${`Take away the key for ${one.provider}`} onClick=${() => setOpen({ kind: 'drop', name: one.provider })} /></li>`)}</ul>
    ${open?.kind === 'set' && html`<${SetKey} api=${api} onClose=${() => setOpen(null)} onDone=${done} />`}
    ${open?.kind === 'drop' && html`<${Confirm} title=${`Take away the key for ${open.name}?`} action="Take it away" act=${() => api.del(`admin/providers/${open.name}`)} onClose=${(gone) => (gone ? done() : setOpen(null))}>
      <p>From the next message on the service’s own key is used.</p></${Confirm}>`}</${Card}>`;
}

function SetKey({ api, onClose, onDone }) {
  const [chosen, choose] = useState('openai');
  const [named, name] = useState('');
  const [key, setKey] = useState('');
  const [url, setUrl] = useState('');
  const [tests, setTests] = useState(true);
  const provider = chosen || named.trim();
  const [run, busy, problem] = useAction(async () => {
    const query = tests ? '' : '?test=false';
    await api.put(`admin/providers/${encodeURIComponent(provider)}${query}`, { api_key: key, base_url: url.trim() || null });
    announce(`The key for ${provider} is set`);
    onDone();
  });
  return html`<${Dialog} title="Set a key" onClose=${() => busy || onClose()}>
    <${Form} onSubmit=${run} busy=${busy} problem=${problem} action=${busy && tests ? 'Asking the provider' : 'Set it'} disabled=${!provider || !key}>
      <${Field} label="Provider" kind="select" value=${chosen} options=${KNOWN} onInput=${choose} />
      ${!chosen && html`<${Field} label="Name of the account" value=${named} onInput=${name} autocomplete="off" />`}
      <${Field} label="Key" kind="password" value=${key} onInput=${setKey} error=${errorOf(problem, 'api_key')} autocomplete="off" hint="It is kept sealed and never shown again." />
      <${Field} label="Address" kind="url" value=${url} onInput=${setUrl} error=${errorOf(problem, 'base_url')} placeholder="https://…" hint="Empty: where the service asks the provider." />
      <${Field} label="Ask the provider first whether it works" kind="checkbox" value=${tests} onInput=${setTests} />
    </${Form}></${Dialog}>`;
}
