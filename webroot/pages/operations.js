/** What was asked for and takes its time; it goes on when the page is closed. */

import { cancel } from "../actions.js";
import { call } from "../api/client.js";
import { t } from "../language.js";
import { Icon } from "../parts/icon.js";
import { StateChip } from "../parts/state_chip.js";
import { link } from "../router.js";
import { operations, stepOf } from "../state.js";
import { html, useState } from "../view.js";
import { moment } from "../words.js";

export function Operations() {
  const all = operations.value;
  return html`<div class="page">
    <header class="page-head"><h1>${t("nav.operations")}</h1></header>
    <p class="quiet">${t("operations.text")}</p>
    ${all.length === 0 && html`<section class="welcome"><span class="welcome-picture"><${Icon} name="tasks" size=${48} /></span><h2>${t("operations.none")}</h2></section>`}
    <ul class="cards one-column">${all.map((one) => html`<${Operation} key=${one.id} operation=${one} />`)}</ul>
  </div>`;
}

function Operation({ operation }) {
  const [log, setLog] = useState("");
  const show = (event) => {
    if (!event.target.open) return;
    call("GET", `/operations/${encodeURIComponent(operation.id)}`).then(
      (whole) => setLog(whole.log),
      (problem) => setLog(problem.message),
    );
  };
  const busy = operation.state === "running";
  return html`<li class="card operation">
    <div class="card-head">
      <span class="card-title"><b>${t(`operation.${operation.kind}`, { name: operation.container })}</b>
        <span class="quiet">${moment(operation.started_at)}</span></span>
      <${StateChip} state=${busy ? "starting" : operation.state} />
    </div>
    ${operation.sentence && html`<p class=${operation.state === "failed" ? "wrong" : ""}>${busy ? stepOf(operation) : operation.sentence}</p>`}
    ${busy && html`<progress aria-label=${t("operations.progress")} value=${operation.progress ?? undefined} max="1"></progress>`}
    <div class="actions">
      ${operation.container && html`<a class="text-button" href=${link("containers", operation.container)}>${t("operations.to_container")}</a>`}
      ${busy && html`<button class="text-button" onClick=${() => cancel(operation)}>${t("cancel")}</button>`}
    </div>
    <details onToggle=${show}><summary>${t("operations.log")}</summary><pre class="log" tabindex="0">${log || t("logs.empty")}</pre></details>
  </li>`;
}
