// What holds for everybody in the tenant, from the next request on.
import { html, useState } from '../../vendor/preact-htm.js';
import { exactTime } from '../../format.js';
import { Card, Confirm, Field, Form, announce, errorOf, useAction, useLoad } from '../../ui/index.js';

const REGISTRATION = [['open', 'Whoever knows the tenant’s id'], ['invite', 'Who was invited'], ['closed', 'Nobody; admins create users']];
const VISIBILITY = [['tenant', 'Everybody’s'], ['own', 'Their own alone']];
const NUMBERS = ['message_retention_days', 'cache_ttl_seconds'];

/** As it is typed: numbers as text, names one a line, nothing as ''. */
const typed = (tenant) => ({
  ...tenant, allowed_models: tenant.allowed_models?.join('\n') ?? '', restricts: tenant.allowed_models !== null,
  ...Object.fromEntries([...NUMBERS, 'default_model', 'event_webhook_url'].map((name) => [name, String(tenant[name] ?? '')])),
});

/** What was changed, as the interface takes it. */
function changes(form, tenant) {
  const names = form.allowed_models.split(/\s+/).filter(Boolean);
  const said = {
    name: form.name.trim(), registration: form.registration, message_visibility: form.message_visibility,
    default_model: form.default_model || null, event_webhook_url: form.event_webhook_url.trim() || null,
    allowed_models: form.restricts ? names : null,
    ...Object.fromEntries(NUMBERS.map((name) => [name, form[name].trim() === '' ? null : Number(form[name])])),
  };
  return Object.fromEntries(Object.entries(said).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(tenant[name])));
}

export function TenantForm({ api, tenant, onChange }) {
  const [form, setForm] = useState(() => typed(tenant));
  const [asks, ask] = useState(false);
  const models = useLoad(({ signal }) => api.get('models', {}, { signal }));
  const changed = changes(form, tenant);
  const save = async () => {
    const now = await api.patch(`tenants/${tenant.id}`, changed);
    onChange(now);
    setForm(typed(now));
    announce('The settings are saved');
  };
  const [run, busy, problem] = useAction(async () => (deletes(changed, tenant) ? ask(true) : save()));
  const field = (name) => ({ value: form[name], error: errorOf(problem, name), onInput: (value) => setForm({ ...form, [name]: value }) });
  const known = (models.data ?? []).map((model) => model.id);
  return html`<${Card} title="Tenant" note=${`Last changed ${exactTime(tenant.updated_at)}. What is saved holds from the next request on.`}>
    <${Form} onSubmit=${run} busy=${busy} problem=${problem} disabled=${!Object.keys(changed).length}>
      <div class="fields">
        <${Field} label="Name" ...${field('name')} maxlength="255" autocomplete="off" />
        <${Field} label="Who may register" kind="select" options=${REGISTRATION} ...${field('registration')} />
        <${Field} label="Whose messages users see" kind="select" options=${VISIBILITY} ...${field('message_visibility')} hint="Admins see all." />
        <${Field} label="Delete messages after (days)" kind="number" min="0" ...${field('message_retention_days')} hint="Empty: never. 0: no text is kept at all." />
        <${Field} label="Keep answers for equal prompts (seconds)" kind="number" min="1" max="86400" ...${field('cache_ttl_seconds')} hint="Empty: not at all. Saving a change forgets what was kept." />
        <${Field} label="Model where none is named" kind="select" options=${defaults(known, form.default_model)} ...${field('default_model')} />
        <${Field} label="Address that is told of spent budgets" kind="url" ...${field('event_webhook_url')} hint="At 50, 80 and 100 %. Empty: none is told." placeholder="https://…" />
      </div>
      <${Field} label="Only some models may be asked for" kind="checkbox" value=${form.restricts} onInput=${(restricts) => setForm({ ...form, restricts, allowed_models: form.allowed_models || (restricts ? known.join('\n') : '') })} />
      ${form.restricts && html`<${Field} label="Models, one a line" kind="textarea" ...${field('allowed_models')} spellcheck=${false} hint=${`You may ask for: ${known.join(', ') || 'none'}. No line: no model at all.`} />`}
    </${Form}>
    ${asks && html`<${Confirm} title="Delete old messages?" name=${tenant.name} action="Save and delete" act=${save} onClose=${() => ask(false)}>
      <p>${changed.message_retention_days === 0 ? 'All messages and conversations there are will be deleted for good within minutes, and no text of new ones will be kept.'
        : `Messages older than ${changed.message_retention_days} days will be deleted for good, within minutes and from then on.`}</p></${Confirm}>`}</${Card}>`;
}

const defaults = (known, chosen) => [['', 'The service’s default'], ...new Set([...known, chosen].filter(Boolean))];

/** Whether saving it deletes what there is. */
function deletes(changed, tenant) {
  const days = changed.message_retention_days;
  return typeof days === 'number' && (tenant.message_retention_days === null || days < tenant.message_retention_days);
}
