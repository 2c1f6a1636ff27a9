// Dialogs: the browser's own, which keep the focus inside and close by Escape.
import { html, useEffect, useRef, useState } from '../vendor/preact-htm.js';
import { Button } from './basics.js';
import { Field, Form } from './forms.js';
import { useAction } from './hooks.js';

/** Open as long as it is rendered; `onClose` for Escape and the cross. Whoever had the focus gets it back. */
export function Dialog({ title, onClose, children, wide = false }) {
  const box = useRef();
  useEffect(() => {
    const before = document.activeElement;
    const dialog = box.current;
    dialog.showModal();
    dialog.querySelector('input, textarea, select, form button')?.focus();
    return () => {
      dialog.close(); // while it is open, nothing outside takes the focus
      before?.focus?.();
    };
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    onClose();
  };
  return html`<dialog ref=${box} class=${wide ? 'wide' : ''} aria-label=${title} onCancel=${cancel}>
    <header><h2>${title}</h2><${Button} kind="quiet" icon="close" label="Close" onClick=${onClose} /></header>${children}</dialog>`;
}

/**
 * Asks before something is done that cannot be undone. With `name`, that has to be typed first. `act` does it; the
 * dialog stays while it runs, shows what failed, and closes by `onClose(true)` when it is done.
 */
export function Confirm({ title, name, action, children, act, onClose }) {
  const [typed, type] = useState('');
  const [run, busy, problem] = useAction(async () => {
    await act(typed);
    onClose(true);
  });
  return html`<${Dialog} title=${title} onClose=${() => busy || onClose(false)}>
    <${Form} onSubmit=${run} busy=${busy} problem=${problem} action=${action} kind="danger" disabled=${name !== undefined && typed !== name}
      aside=${html`<${Button} onClick=${() => onClose(false)}>Keep it</${Button}>`}>
      <div class="prose">${children}</div>
      ${name !== undefined && html`<${Field} label=${html`Type <strong>${name}</strong> to confirm`} value=${typed} onInput=${type} autocomplete="off" spellcheck=${false} />`}
    </${Form}></${Dialog}>`;
}
