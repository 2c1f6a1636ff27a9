// Inviting somebody, showing the link once, and adding somebody with a password.
import { html, useState } from '../vendor/preact-htm.js';
import { time } from '../format.js';
import { href } from '../router.js';
import { Button, Copy, Dialog, Field, Form, announce, errorOf, useAction } from '../ui/index.js';

const HOURS = [['24', 'A day'], ['72', 'Three days'], ['168', 'A week'], ['720', '30 days']];

/** `onClose(invite)` with the new one, its token included, or without. */
export function Invite({ api, onClose }) {
  const [email, setEmail] = useState('');
  const [hours, setHours] = useState('72');
  const [invite, busy, problem] = useAction(async () => onClose(await api.post('admin/invites', { email, expires_in_hours: Number(hours) })));
  return html`<${Dialog} title="Invite somebody" onClose=${() => onClose(null)}>
    <${Form} onSubmit=${invite} busy=${busy} problem=${problem} action="Make an invite" disabled=${!email}>
      <${Field} label="Email" kind="email" value=${email} onInput=${setEmail} error=${errorOf(problem, 'email')} autocomplete="off" />
      <${Field} label="Open for" kind="select" options=${HOURS} value=${hours} onInput=${setHours} hint="No mail is sent: you get a link to hand on." />
    </${Form}></${Dialog}>`;
}

/** The link is shown once. The token stands behind its #, which no browser sends to a server. */
export function Invited({ invite, onClose }) {
  const link = `${location.origin}${href('join', invite.tenant_id)}#${invite.token}`;
  return html`<${Dialog} title="${invite.email} is invited" onClose=${onClose}>
    <div class="stack"><p>Hand on this link now: nobody can show it again. It works once, for this email, until ${time(invite.expires_at)}.</p>
      <p class="secret"><${Copy} text=${link} label="Copy the link" /></p>
      <p class="muted">For a program: the tenant's id is <code>${invite.tenant_id}</code>, the token</p>
      <p class="secret"><${Copy} text=${invite.token} label="Copy the token" /></p>
      <div class="actions"><${Button} kind="primary" onClick=${onClose}>I have it</${Button}></div></div></${Dialog}>`;
}

/** `onClose(user)` with the new one, or without. */
export function Add({ api, onClose }) {
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const [role, setRole] = useState('user');
  const [add, busy, problem] = useAction(async () => {
    const user = await api.post('admin/users', { email, password, role });
    announce(`${user.email} may sign in`);
    onClose(user);
  });
  return html`<${Dialog} title="Add somebody" onClose=${() => onClose(null)}>
    <${Form} onSubmit=${add} busy=${busy} problem=${problem} action="Add" disabled=${!email || !password}>
      <${Field} label="Email" kind="email" value=${email} onInput=${setEmail} error=${errorOf(problem, 'email')} autocomplete="off" />
      <${Field} label="Password" kind="password" value=${password} onInput=${setPassword} error=${errorOf(problem, 'password')} hint="At least 8 characters; an invite lets them choose one themselves." autocomplete="new-password" />
      <${Field} label="Role" kind="select" options=${['user', 'admin']} value=${role} onInput=${setRole} />
    </${Form}></${Dialog}>`;
}
