/** Questions that stand before everything else; the browser's own dialog keeps the keyboard inside and closes on Escape. */

import { html, signal, useEffect, useId, useRef } from "../view.js";
import { t } from "../language.js";

const question = signal(null);

/** Ask; the promise is kept with whether the answer was yes.  `points` are shown as a list, `typed` must be typed first. */
export function ask({ title, text, points = [], yes, danger = false, typed = null }) {
  return new Promise((keep) => {
    question.value = { title, text, points, yes, danger, typed, keep };
  });
}

/** The place where questions appear. */
export function Questions() {
  const asked = question.value;
  return asked && html`<${Question} key=${asked.title} ...${asked} />`;
}

function Question({ title, text, points, yes, danger, typed, keep }) {
  const answer = (value) => {
    question.value = null;
    keep(value);
  };
  const written = useRef(null);
  const submit = (event) => {
    event.preventDefault();
    if (typed === null || written.current.value === typed) answer(true);
    else written.current.focus();
  };
  const label = useId();
  return html`<${Dialog} title=${title} onClose=${() => answer(false)}>
    <form onSubmit=${submit}>
      ${text && html`<p>${text}</p>`}
      ${points.length > 0 && html`<ul class="points">${points.map((point) => html`<li>${point}</li>`)}</ul>`}
      ${typed !== null &&
      html`<div class="field">
        <label for=${label}>${t("type_to_confirm", { text: typed })}</label>
        <input id=${label} ref=${written} autocomplete="off" autocapitalize="off" spellcheck=${false} autofocus />
      </div>`}
      <div class="dialog-actions">
        <button type="button" class="text-button" onClick=${() => answer(false)}>${t("cancel")}</button>
        <button type="submit" class=${danger ? "filled-button danger" : "filled-button"}>${yes}</button>
      </div>
    </form>
  <//>`;
}

/** A modal dialog that is open as long as it is there. */
export function Dialog({ title, onClose, children }) {
  const element = useRef(null);
  const heading = useId();
  useEffect(() => {
    const dialog = element.current;
    dialog.showModal();
    return () => dialog.close();
  }, []);
  const cancelled = (event) => {
    event.preventDefault(); // its owner takes it away, and with it the question
    onClose();
  };
  return html`<dialog ref=${element} aria-labelledby=${heading} onCancel=${cancelled}>
    <h2 id=${heading}>${title}</h2>
    ${children}
  </dialog>`;
}
