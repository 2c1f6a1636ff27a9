// What people set: each its own account, admins their tenant, its keys at providers, its export and its end.
import { html } from '../vendor/preact-htm.js';
import { Loading, Failure, PageHead, useLoad } from '../ui/index.js';
import { Password, SignOut } from './settings/account.js';
import { EventSecret } from './settings/events.js';
import { Erase, Export } from './settings/leaving.js';
import { ProviderKeys } from './settings/providers.js';
import { TenantForm } from './settings/tenant.js';

export default function Settings({ api, me }) {
  return html`<${PageHead} title="Settings" note=${me.email} />
    <div class="stack">${me.role === 'admin' ? html`<${OfTenant} api=${api} me=${me} />` : html`<${Own} api=${api} me=${me} />`}</div>`;
}

function Own({ api, me }) {
  return html`<div class="columns"><${Password} api=${api} me=${me} /><${SignOut} /></div>`;
}

function OfTenant({ api, me }) {
  const tenant = useLoad(({ signal }) => api.get(`tenants/${me.tenant_id}`, {}, { signal }), [me.tenant_id]);
  if (tenant.problem) return html`<${Failure} problem=${tenant.problem} onRetry=${tenant.reload} />`;
  if (!tenant.data) return html`<${Loading} />`;
  return html`<${TenantForm} api=${api} tenant=${tenant.data} onChange=${tenant.set} />
    <div class="columns"><${ProviderKeys} api=${api} /><${EventSecret} api=${api} /></div>
    <div class="columns"><${Export} api=${api} tenant=${tenant.data} /><${Erase} api=${api} tenant=${tenant.data} /></div>
    <h2 class="above-table">Your account</h2><${Own} api=${api} me=${me} />`;
}
