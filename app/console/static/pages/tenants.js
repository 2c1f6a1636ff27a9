// Tenants of the service, for who runs it: anybody where tenants may be created by anybody, else who has the operator token.
import { html, useState } from '../vendor/preact-htm.js';
import { href, navigate } from '../router.js';
import { session, setOperatorToken, signIn } from '../session.js';
import { Button, Card, Copy, Facts, Field, Form, PageHead, announce, errorOf, useAction } from '../ui/index.js';

export default function Tenants({ api, me }) {
  const [made, setMade] = useState(null);
  return html`<${PageHead} title="Tenants" note="A tenant is a company whose people, messages and documents nobody else sees." />
    <div class="columns">
      ${made ? html`<${Made} made=${made} me=${me} onAnother=${() => setMade(null)} />` : html`<${Create} api=${api} onMade=${setMade} />`}
      <div class="stack"><${Operator} /><${ByCommand} /></div>
    </div>`;
}

function Create({ api, onMade }) {
  const [name, setName] = useState('');
  const [region, setRegion] = useState('');
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const [run, busy, problem] = useAction(async () => {
    const admin = { email, password };
    const tenant = await api.post('create-tenant', { name, admin, region: region || null }, { as: 'operator' });
    announce(`${tenant.name} was created`);
    onMade({ tenant, email, password });
  });
  return html`<${Card} title="Create a tenant" note="With its first admin, who invites the others.">
    <${Form} onSubmit=${run} busy=${busy} problem=${problem} action="Create" disabled=${!name || !email || !password}>
      <${Field} label="Name" value=${name} onInput=${setName} error=${errorOf(problem, 'name')} autocomplete="organization" required />
      <div class="fields">
        <${Field} label="Email of the first admin" kind="email" value=${email} onInput=${setEmail} error=${errorOf(problem, 'email')} autocomplete="off" required />
        <${Field} label="Password" kind="password" value=${password} onInput=${setPassword} error=${errorOf(problem, 'password')} hint="At least 8 characters." autocomplete="new-password" required />
      </div>
      <${Field} label="Region" value=${region} onInput=${setRegion} error=${errorOf(problem, 'region')} hint="Where the service has several; else leave it empty." autocomplete="off" />
    </${Form}></${Card}>`;
}

function Made({ made, me, onAnother }) {
  const [enter, entering, problem] = useAction(async () => {
    await signIn(made.email, made.password);
    navigate(href());
  });
  return html`<${Card} title=${made.tenant.name} note="The tenant is there.">
    <div class="stack"><${Facts} rows=${[['Tenant', html`<${Copy} text=${made.tenant.id} />`], ['First admin', made.tenant.admin.email]]} />
      ${problem && html`<p class="failure" role="alert">${problem.detail}</p>`}
      <div class="actions">${!me && html`<${Button} kind="primary" busy=${entering} onClick=${enter}>Sign in as its admin</${Button}>`}
        <${Button} onClick=${onAnother}>Create another</${Button}></div></div></${Card}>`;
}

function Operator() {
  const [typed, setTyped] = useState('');
  const known = Boolean(session.operatorToken);
  const use = () => {
    setOperatorToken(typed);
    setTyped('');
    announce(typed ? 'The operator token is used from now on' : 'The operator token is forgotten');
  };
  return html`<${Card} title="Operator token" note="Needed where only the operator creates tenants (TENANT_CREATION=operator). It stays in the memory of this page and is gone when it is loaded again.">
    <${Form} onSubmit=${use} action=${known && !typed ? 'Forget it' : 'Use it'} kind="" disabled=${!known && !typed}>
      <${Field} label="Operator token" kind="password" value=${typed} onInput=${setTyped} hint=${known ? 'One is in use.' : ''} autocomplete="off" />
    </${Form}></${Card}>`;
}

const COMMANDS = [
  ['Bound what a tenant spends in a month', 'set-ceiling --tenant-id TENANT --micro-usd 50000000'],
  ['Help a tenant whose admins are gone', 'create-admin --tenant-id TENANT --email ADMIN'],
  ['Move a tenant to another region', 'move-tenant TENANT REGION'],
  ['List the tenants that were erased', 'erased-tenants --since 2026-01-01'],
  ['Sign everybody out', 'end-all-sessions --api-keys'],
];

function ByCommand() {
  return html`<${Card} title="On the service’s machine" note="What reaches over the heads of a tenant’s admins needs the database owner’s login. The running service does not have it, and cannot list the tenants that it serves: neither can this page. Settings and erasure are each tenant’s admins’.">
    <${Facts} rows=${COMMANDS.map(([what, command]) => [what, html`<code>python -m app.cli ${command}</code>`])} /></${Card}>`;
}
