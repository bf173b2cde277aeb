/** What is inside a container is there to be looked at only while its first program runs. */

import { t } from "../language.js";
import { html } from "../view.js";
import { Waiting } from "./loading.js";

export function Inside({ summary: { state }, children }) {
  if (state === "starting") return html`<${Waiting} />`;
  return ["running", "unattended"].includes(state) ? children : html`<p class="quiet">${t("container.not_running")}</p>`;
}
