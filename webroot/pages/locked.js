/** What one sees who has no right to come in: how to get it. */

import { reason } from "../api/client.js";
import { t } from "../language.js";
import { html } from "../view.js";

export function Locked() {
  return html`<main id="main" tabindex="-1" class="locked">
    <img src="icon.svg" alt="" width="72" height="72" />
    <h1>${t("locked.title")}</h1>
    ${reason.value && html`<p class="banner error" role="alert">${reason.value}</p>`}
    <p>${t("locked.text")}</p>
    <ol class="points">
      <li>${t("locked.phone")}</li>
      <li>${t("locked.computer")} <code>berth dashboard</code></li>
    </ol>
  </main>`;
}
