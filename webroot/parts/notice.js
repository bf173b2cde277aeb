/** Short sentences at the bottom of the page, read out by screen readers. */

import { html, signal } from "../view.js";
import { t } from "../language.js";
import { Icon } from "./icon.js";

const LASTS = { info: 5000, error: 12000 }; // ms; an error is a whole sentence to read
const notice = signal(null);
let timer = 0;

/** Show `sentence`; `kind` is "info" or "error". */
export function notify(sentence, kind = "info") {
  clearTimeout(timer);
  notice.value = { sentence, kind };
  timer = setTimeout(hush, LASTS[kind]);
}

function hush() {
  notice.value = null;
}

/** The place where notices appear; always there, or a screen reader would miss the first. */
export function Notices() {
  const shown = notice.value;
  return html`<div class="notices" role="status" aria-live="polite">
    ${shown &&
    html`<div class=${`notice ${shown.kind}`}>
      <span>${shown.sentence}</span>
      <button class="icon-button" aria-label=${t("close")} onClick=${hush}><${Icon} name="close" /></button>
    </div>`}
  </div>`;
}
