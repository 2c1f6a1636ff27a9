// What webhooks are signed with: shown when somebody asks, replaced when it may be known to others.
import { html, useState } from '../../vendor/preact-htm.js';
import { Button, Card, Confirm, Copy, Failure, announce, useAction } from '../../ui/index.js';

export function EventSecret({ api }) {
  const [secret, setSecret] = useState(null);
  const [asks, ask] = useState(false);
  const [show, busy, problem] = useAction(async () => setSecret((await api.get('admin/webhook-secret')).secret));
  const replace = async () => {
    setSecret((await api.post('admin/webhook-secret')).secret);
    announce('A new secret signs from now on');
  };
  return html`<${Card} title="Secret of webhooks" note="Receivers check with it that what they are sent comes from here.">
    <${Failure} problem=${problem} />
    ${secret && html`<p><${Copy} text=${secret} label="Copy the secret" /></p>`}
    <div class="actions">${secret ? html`<${Button} onClick=${() => setSecret(null)}>Hide it</${Button}>` : html`<${Button} busy=${busy} onClick=${show}>Show it</${Button}>`}
      <${Button} onClick=${() => ask(true)}>Replace it</${Button}></div>
    ${asks && html`<${Confirm} title="Replace the secret?" action="Replace it" act=${replace} onClose=${() => ask(false)}>
      <p>The old one signs beside the new one for 24 hours, so that receivers can change in between.</p></${Confirm}>`}</${Card}>`;
}
