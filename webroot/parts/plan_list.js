/** What a start does and why, as the service tells it. */

import { known, t } from "../language.js";
import { html } from "../view.js";
import { Icon } from "./icon.js";

/** `groups` as in the answer to a plan; warnings come first and open. */
export function PlanList({ groups }) {
  const titles = Object.keys(groups).sort((a, b) => Number(b === "warnings") - Number(a === "warnings"));
  return html`<div class="groups">
    ${titles.map(
      (title) =>
        html`<details class="group" key=${title} open=${["warnings", "root"].includes(title)}>
          <summary><b class="grow">${known(`plan.${title}`) ? t(`plan.${title}`) : title}</b>
            <span class=${title === "warnings" ? "chip warn" : "chip quiet"}>${groups[title].length}</span><${Icon} name="chevron" /></summary>
          <ul class="plan">
            ${groups[title].map((entry) => html`<li><code>${entry.what}</code>${entry.why && html`<span class="quiet">${entry.why}</span>`}</li>`)}
          </ul>
        </details>`,
    )}
  </div>`;
}
