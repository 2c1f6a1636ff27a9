// Signing in, and giving the password again for what cannot be undone.
import { html, useState } from './vendor/preact-htm.js';
import { href } from './router.js';
import { session, signIn, signInAgain } from './session.js';
import { Button, Dialog, Empty, Field, Form, useAction } from './ui/index.js';

export function SignIn({ notice }) {
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const [run, busy, problem] = useAction(() => signIn(email, password));
  document.title = 'Sign in · Console';
  if (!isSecureContext) return html`<main class="door"><${Insecure} /></main>`;
  return html`<main class="door"><div class="card">
    <div class="brand"><span class="mark" aria-hidden="true" />Console</div>
    <h1>Sign in</h1>${notice && html`<p class="notice" role="status">${notice}</p>`}
    <${Form} onSubmit=${run} busy=${busy} problem=${problem} action="Sign in">
      <${Field} label="Email" kind="email" value=${email} onInput=${setEmail} autocomplete="username" required autofocus />
      <${Field} label="Password" kind="password" value=${password} onInput=${setPassword} autocomplete="current-password" required />
    </${Form}>
    <p class="muted">No account? Ask an admin of your tenant for an invite, or <a href=${href('tenants')}>create a tenant</a>.</p>
  </div></main>`;
}

/** Browsers keep no session here, and whoever is on the way could read the password. */
function Insecure() {
  return html`<${Empty} title="Open the console by https">This page came by plain http from ${location.host}: the password would be
    readable on its way, and browsers keep no session for such an address. Open it by https, or on the machine itself by
    <code>http://localhost${location.port && `:${location.port}`}</code>.</${Empty}>`;
}

/** For what makes access, or cannot be undone; `onClose(true)` once the password was right. */
export function PasswordAgain({ onClose }) {
  const [password, setPassword] = useState('');
  const [run, busy, problem] = useAction(async () => {
    await signInAgain(password);
    onClose(true);
  });
  return html`<${Dialog} title="Your password, again" onClose=${() => onClose(false)}>
    <${Form} onSubmit=${run} busy=${busy} problem=${problem} action="Go on" aside=${html`<${Button} onClick=${() => onClose(false)}>Leave it</${Button}>`}>
      <p>This needs a password that was given a short while ago.</p>
      <input type="email" class="unseen" autocomplete="username" value=${session.me.email} readonly tabindex="-1" aria-hidden="true" />
      <${Field} label="Password" kind="password" value=${password} onInput=${setPassword} autocomplete="current-password" required />
    </${Form}></${Dialog}>`;
}
