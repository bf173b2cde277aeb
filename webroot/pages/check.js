/** What Berth needs of the device, what it costs to lack it, and how to get it. */

import { t } from "../language.js";
import { Icon } from "../parts/icon.js";
import { useAnswer, Waiting } from "../parts/loading.js";
import { html } from "../view.js";

export function Check() {
  const { value, problem, again } = useAnswer("/check");
  if (!value) return html`<div class="page"><h1>${t("nav.check")}</h1><${Waiting} problem=${problem} again=${again} /></div>`;
  const missing = value.requirements.filter((one) => one.state === "missing").sort((a, b) => b.required - a.required);
  const met = value.requirements.filter((one) => one.state === "ok");
  return html`<div class="page">
    <header class="page-head"><h1>${t("nav.check")}</h1><button class="text-button" onClick=${again}><${Icon} name="refresh" />${t("check.again")}</button></header>
    <section class=${`verdict ${value.fulfilled ? "good" : "bad"}`} role="status">
      <${Icon} name=${value.fulfilled ? "check" : "warning"} size=${32} />
      <div><h2>${t(value.fulfilled ? "check.fulfilled" : "check.not_fulfilled")}</h2>
        <p>${t("check.count", { ok: met.length, all: value.requirements.length })}</p></div>
    </section>
    ${missing.length > 0 && html`<h2>${t("check.missing")}</h2>`}
    <ul class="cards one-column">${missing.map((one) => html`<${Missing} key=${one.key} requirement=${one} />`)}</ul>
    <h2>${t("check.met")}</h2>
    <ul class="card plan met">${met.map((one) => html`<li key=${one.key}><span class="met-title"><${Icon} name="check" size=${20} />${one.title}</span>${one.found && html`<span class="quiet">${one.found}</span>`}</li>`)}</ul>
  </div>`;
}

function Missing({ requirement }) {
  const { title, required, found, cost, remedy } = requirement;
  return html`<li class="card">
    <div class="card-head"><b class="grow">${title}</b><span class=${`chip ${required ? "bad" : "warn"}`}>${t(required ? "check.required" : "check.optional")}</span></div>
    <dl class="facts">
      ${found && html`<div><dt>${t("check.found")}</dt><dd>${found}</dd></div>`}
      ${cost && html`<div><dt>${t("check.cost")}</dt><dd>${cost}</dd></div>`}
      ${remedy && html`<div><dt>${t("check.remedy")}</dt><dd>${remedy}</dd></div>`}
    </dl>
  </li>`;
}
