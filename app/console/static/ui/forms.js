// Fields with their labels, and forms that say what was wrong with which.
import { html, useRef } from '../vendor/preact-htm.js';
import { Button, Failure } from './basics.js';

let made = 0;

/**
 * A field with its label. `kind`: an input's type, or 'textarea', 'select' (`options`: `[value, words]` or values),
 * 'checkbox'. `onInput` gets the value itself. `hint` stands below it, `error` in its place.
 */
export function Field({ label, kind = 'text', value, onInput, options, hint, error, quiet = false, ...rest }) {
  const id = useRef(null);
  id.current ??= `field-${made += 1}`;
  const told = error || hint;
  const shared = {
    id: id.current, 'aria-invalid': error ? 'true' : undefined, 'aria-describedby': told ? `${id.current}-hint` : undefined, ...rest,
  };
  const note = told && html`<p id="${id.current}-hint" class=${error ? 'error' : 'hint'}>${told}</p>`;
  if (kind === 'checkbox') {
    return html`<div class="field check"><input type="checkbox" checked=${value} onChange=${(event) => onInput(event.target.checked)} ...${shared} />
      <label for=${id.current}>${label}</label>${note}</div>`;
  }
  return html`<div class="field"><label for=${id.current} class=${quiet ? 'unseen' : ''}>${label}</label>
    ${control(kind, value, onInput, options, shared)}${note}</div>`;
}

function control(kind, value, onInput, options, shared) {
  const told = (event) => onInput(event.target.value);
  if (kind === 'textarea') return html`<textarea value=${value} onInput=${told} ...${shared} />`;
  if (kind === 'select') {
    return html`<select value=${value} onChange=${told} ...${shared}>${options.map((option) => {
      const [key, words] = Array.isArray(option) ? option : [option, option];
      return html`<option value=${key} selected=${key === value}>${words}</option>`;
    })}</select>`;
  }
  return html`<input type=${kind} value=${value} onInput=${told} ...${shared} />`;
}

/** A form whose button is busy while `onSubmit` runs, and which shows the `problem` of it. */
export function Form({ onSubmit, busy, problem, action = 'Save', kind = 'primary', disabled = false, children, aside }) {
  const submit = (event) => {
    event.preventDefault();
    if (!busy && !disabled) onSubmit();
  };
  return html`<form class="form" onSubmit=${submit} novalidate>${children}<${Failure} problem=${problem} />
    <div class="actions"><${Button} type="submit" kind=${kind} busy=${busy} disabled=${disabled}>${action}</${Button}>${aside}</div></form>`;
}

/** What a problem says of one field, for `Field`'s `error`. */
export function errorOf(problem, name) {
  return problem?.errors?.find((one) => one.loc.includes(name))?.msg;
}
