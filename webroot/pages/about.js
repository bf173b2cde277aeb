/** What this is, what it is made of, and a report to send when something is wrong. */

import { attempt, beginAt, cancel } from "../actions.js";
import { t } from "../language.js";
import { Icon } from "../parts/icon.js";
import "../parts/later_icons.js";
import { useAnswer, Waiting } from "../parts/loading.js";
import { notify } from "../parts/notice.js";
import { link } from "../router.js";
import { lastLook, stepOf } from "../state.js";
import { html, useEffect, useState } from "../view.js";
import { moment, size } from "../words.js";

export function About() {
  const service = useAnswer("/service");
  const host = useAnswer("/host");
  const problem = service.problem ?? host.problem;
  return html`<div class="page">
    <header class="page-head"><a class="icon-button" href=${link("settings")} aria-label=${t("back")}><${Icon} name="back" /></a><h1>${t("about.title")}</h1></header>
    ${service.value && host.value ? html`<${Facts} service=${service.value} host=${host.value} />` : html`<${Waiting} problem=${problem} />`}
    <h2>${t("updates.title")}</h2>
    <${Updates} />
    <h2>${t("about.report")}</h2>
    <${Report} />
    <h2>${t("about.licences")}</h2>
    <${Licences} />
  </div>`;
}

function Facts({ service, host }) {
  const facts = [
    ["about.version", service.version],
    ["about.kernel", `${host.kernel} ${host.machine}`],
    ["about.android", host.android],
    ["about.selinux", host.selinux],
    ["host.memory", size(host.memory)],
    ["about.folder", host.state_folder],
  ].filter(([, value]) => value);
  return html`<section class="card"><dl class="facts">${facts.map(([key, value]) => html`<div key=${key}><dt>${t(key)}</dt><dd>${value}</dd></div>`)}</dl></section>`;
}

/** Looks only when it is pressed: nothing of Berth calls home by itself. */
function Updates() {
  const last = lastLook.value;
  const { value: found, problem } = useAnswer("/updates", last?.ended_at);
  const outside = (address, words) => address && html`<a class="tonal-button" href=${address} target="_blank" rel="noopener noreferrer">${words}</a>`;
  if (last?.state === "running") {
    return html`<section class="card"><div class="actions under-way" role="status">
      <span class="spinner"></span><span class="grow">${stepOf(last)}</span>
      <button class="text-button" onClick=${() => cancel(last)}>${t("cancel")}</button>
    </div></section>`;
  }
  const wrong = last?.state === "failed" ? last.sentence : problem?.message;
  return html`<section class="card">
    ${wrong && html`<p class="wrong" role="status">${wrong}</p>`}
    <p role="status">${found?.latest ? t(found.newer ? "updates.newer" : "updates.none", { version: found.latest }) : t("updates.help")}</p>
    ${found?.looked_at && html`<p class="quiet">${t("updates.looked", { when: moment(found.looked_at) })}</p>`}
    <div class="actions">
      ${found?.newer && html`${outside(found.zip, t("updates.get"))}${outside(found.changelog, t("updates.changes"))}`}
      <button class="tonal-button" onClick=${() => beginAt("/updates")}><${Icon} name="refresh" />${t("updates.look")}</button>
    </div>
  </section>`;
}

function Report() {
  const [text, setText] = useState("");
  const make = async () => setText((await attempt("GET", "/report"))?.text ?? "");
  const copy = () =>
    navigator.clipboard.writeText(text).then(
      () => notify(t("copied")),
      (error) => notify(error.message, "error"),
    );
  const save = () => {
    const address = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    Object.assign(document.createElement("a"), { href: address, download: "berth-report.txt" }).click();
    URL.revokeObjectURL(address);
  };
  return html`<section class="card">
    <p>${t("about.report_help")}</p>
    ${text && html`<pre class="log" tabindex="0" role="region" aria-label=${t("about.report")}>${text}</pre>`}
    <div class="actions">
      ${!text && html`<button class="tonal-button" onClick=${make}>${t("about.report_make")}</button>`}
      ${text && html`<button class="tonal-button" onClick=${copy}><${Icon} name="copy" />${t("copy")}</button><button class="filled-button" onClick=${save}><${Icon} name="down" />${t("save")}</button>`}
    </div>
  </section>`;
}

function Licences() {
  const [packages, setPackages] = useState([]);
  useEffect(() => {
    fetch("vendor/licences.json").then((answer) => answer.json()).then(setPackages, (error) => notify(error.message, "error"));
  }, []);
  return html`<p class="quiet">${t("about.own_licence")}</p>
    <div class="groups">${packages.map(
      ({ name, version, licence, text }) =>
        html`<details class="group" key=${name}><summary><span class="grow"><b>${name}</b> <span class="quiet">${version}</span></span><span class="chip quiet">${licence}</span><${Icon} name="chevron" /></summary><pre class="licence" tabindex="0">${text}</pre></details>`,
    )}</div>`;
}
