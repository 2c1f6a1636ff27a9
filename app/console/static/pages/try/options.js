// How a message is to be answered. What is left empty is as the model does it.
import { html } from '../../vendor/preact-htm.js';
import { Field } from '../../ui/index.js';

const EFFORTS = [['', "The model's own"], 'none', 'minimal', 'low', 'medium', 'high', 'xhigh'];

const UNSET = { model: '', temperature: '', maxTokens: '', effort: '', system: '', documents: false, collection: '' };

/** As a page about a collection sends one here; null: another page. */
export const asking = (collection) => ({ ...UNSET, documents: collection !== null, collection: collection ?? '' });

/** The same as `POST /messages` takes it. */
export function bodyOf(options, models) {
  const model = chosen(models, options);
  const body = {};
  if (options.model) body.model = options.model;
  if (options.temperature !== '' && can(model, 'sampling')) body.temperature = Number(options.temperature);
  if (options.maxTokens !== '') body.max_output_tokens = Number(options.maxTokens);
  if (options.effort && can(model, 'reasoning')) body.reasoning_effort = options.effort;
  if (options.documents) body.documents = options.collection ? { collection: options.collection } : true;
  return body;
}

function chosen(models, options) {
  return models.find((model) => (options.model ? model.id === options.model : model.default));
}

function can(model, capability) {
  return !model || model.capabilities.includes(capability);
}

/**
 * `collections` null: the service keeps no documents. `begun`: the conversation has its system prompt; `alone`: there is
 * no conversation to have one.
 */
export function Options({ options, set, models, collections, begun, alone }) {
  const model = chosen(models, options);
  const field = (name) => ({ value: options[name], onInput: (value) => set((old) => ({ ...old, [name]: value })) });
  const names = models.map(({ id, default: usual }) => [usual ? '' : id, usual ? `${id} (default)` : id]);
  return html`
    <${Field} label="Model" kind="select" options=${names} hint=${model?.description} ...${field('model')} />
    <${Field} label="Temperature" kind="number" min="0" max="2" step="0.1" hint="0 to 2" disabled=${!can(model, 'sampling')}
      ...${field('temperature')} />
    <${Field} label="Max tokens" kind="number" min="1" step="1" hint=${model && `At most ${model.max_output_tokens}`}
      ...${field('maxTokens')} />
    <${Field} label="Reasoning effort" kind="select" options=${EFFORTS} disabled=${!can(model, 'reasoning')} ...${field('effort')} />
    ${!alone && html`<${Field} label="System prompt" kind="textarea" rows="4" readonly=${begun} ...${field('system')}
      hint=${begun ? 'Of this conversation, from its beginning' : 'Opens each call of the conversation'} />`}
    ${collections && html`<${Field} label="Answer from documents" kind="checkbox" ...${field('documents')} />`}
    ${collections && options.documents && html`<${Field} label="Collection" kind="select" ...${field('collection')}
      options=${[['', 'All'], ...collections.map(({ name, documents }) => [name, `${name} (${documents})`])]} />`}`;
}
