/** The state of a container or an operation, in a word and a colour. */

import { html } from "../view.js";
import { t } from "../language.js";

const TONES = {
  running: "good",
  done: "good",
  starting: "busy",
  stopped: "quiet",
  cancelled: "quiet",
  stuck: "bad",
  crashed: "bad",
  failed: "bad",
  unattended: "warn",
};

export function StateChip({ state }) {
  return html`<span class=${`chip ${TONES[state] ?? "quiet"}`}>${t(`state.${state}`)}</span>`;
}
