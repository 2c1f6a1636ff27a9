// Where an invite leads: whoever has it chooses a password, and is in.
import { html, useState } from '../vendor/preact-htm.js';
import { href, navigate } from '../router.js';
import { signIn } from '../session.js';
import { Card, Field, Form, PageHead, errorOf, useAction } from '../ui/index.js';

export default function Join({ api, me, route }) {
  const [token, setToken] = useState(() => location.hash.slice(1));
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const [join, busy, problem] = useAction(async () => {
    await api.post('register', { tenant_id: route.id, email, password, invite_token: token || null });
    await signIn(email, password);
    navigate(href());
  });
  const note = me ? `You are signed in as ${me.email}; who joins takes your place in this browser.` : 'Choose the password with which you will sign in.';
  return html`<${PageHead} title="Join" note=${note} /><div class="columns"><${Card}>
    <${Form} onSubmit=${join} busy=${busy} problem=${problem} action="Join" disabled=${!email || !password}>
      <${Field} label="Email" kind="email" value=${email} onInput=${setEmail} error=${errorOf(problem, 'email')} hint="The one that was invited." autocomplete="username" />
      <${Field} label="Password" kind="password" value=${password} onInput=${setPassword} error=${errorOf(problem, 'password')} hint="At least 8 characters." autocomplete="new-password" />
      <${Field} label="Invite" value=${token} onInput=${setToken} hint="It stood in the link." autocomplete="off" spellcheck=${false} />
    </${Form}></${Card}></div>`;
}
