// One's own account: the password, and the sessions.
import { html, useState } from '../../vendor/preact-htm.js';
import { signIn, signOut } from '../../session.js';
import { Button, Card, Confirm, Field, Form, announce, errorOf, useAction } from '../../ui/index.js';

export function Password({ api, me }) {
  const [current, setCurrent] = useState('');
  const [next, setNext] = useState('');
  const [keeps, setKeeps] = useState(false);
  const [run, busy, problem] = useAction(async () => {
    await api.put('me/password', { current_password: current, new_password: next, keep_api_keys: keeps });
    await signIn(me.email, next);
    setCurrent('');
    setNext('');
    announce('The password is changed');
  });
  return html`<${Card} title="Password" note="Changing it ends all your other sessions.">
    <${Form} onSubmit=${run} busy=${busy} problem=${problem} action="Change it" disabled=${!current || !next}>
      <input type="email" class="unseen" autocomplete="username" value=${me.email} readonly tabindex="-1" aria-hidden="true" />
      <div class="fields"><${Field} label="Present password" kind="password" value=${current} onInput=${setCurrent} autocomplete="current-password" />
        <${Field} label="New password" kind="password" value=${next} onInput=${setNext} error=${errorOf(problem, 'new_password')} hint="At least 8 characters." autocomplete="new-password" /></div>
      <${Field} label="Keep my API keys" kind="checkbox" value=${keeps} onInput=${setKeeps} hint="Else they end too: whoever knew the old password may have made some." />
    </${Form}></${Card}>`;
}

export function SignOut() {
  const [asks, ask] = useState(false);
  return html`<${Card} title="Sessions" note="Every browser and program that is signed in with your password.">
    <div class="actions"><${Button} icon="out" onClick=${() => ask(true)}>Sign out everywhere</${Button}></div>
    ${asks && html`<${Confirm} title="Sign out everywhere?" action="Sign out everywhere" act=${() => signOut(true)} onClose=${() => ask(false)}>
      <p>All your sessions end at once, this one included. API keys go on.</p></${Confirm}>`}</${Card}>`;
}
