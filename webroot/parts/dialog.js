/** Questions that stand before everything else; the browser's own dialog keeps the keyboard inside and closes on Escape. */

import { html, render, useId, useLayoutEffect, useRef } from "../view.js";
import { t } from "../language.js";

/**
 * Ask; the promise is kept with whether the answer was yes.  `points` are shown as a list, `typed` must be typed first.  Who
 * goes elsewhere, as by Android's Back, has said no.
 */
export function ask({ title, text, points = [], yes, danger = false, typed = null }) {
  const place = document.body.appendChild(document.createElement("div"));
  return new Promise((keep) => {
    const leave = () => answer(false);
    const answer = (value) => {
      removeEventListener("popstate", leave);
      render(null, place);
      place.remove();
      keep(value);
    };
    addEventListener("popstate", leave);
    render(html`<${Question} ...${{ title, text, points, yes, danger, typed, answer }} />`, place);
  });
}

function Question({ title, text, points, yes, danger, typed, answer }) {
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
  useLayoutEffect(() => {
    const dialog = element.current;
    const asker = document.activeElement;
    dialog.showModal();
    return () => {
      dialog.close();
      asker.focus();
    };
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
