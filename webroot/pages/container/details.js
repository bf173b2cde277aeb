/** What a container is and how it does, and the way to get rid of it. */

import { attempt } from "../../actions.js";
import { containerPath } from "../../api/client.js";
import { t } from "../../language.js";
import { ask } from "../../parts/dialog.js";
import { Icon } from "../../parts/icon.js";
import { notify } from "../../parts/notice.js";
import { go } from "../../router.js";
import { isAlive } from "../../state.js";
import { html, useId, useState } from "../../view.js";
import { duration, moment } from "../../words.js";

export function Details({ summary, answer: { spec, details } }) {
  const facts = [
    ["fact.root", details.rootfs],
    ["fact.started", details.started_at && `${moment(details.started_at)} (${duration(Date.now() / 1000 - details.started_at)})`],
    ["fact.address", details.address],
    ["fact.network", details.network && t(`option.net.${details.network}`)],
    ["fact.hostname", details.hostname],
    ["fact.init", [details.init, details.init_kind].filter((word) => word && word !== "unknown").join(" · ")],
    ["fact.pid", details.pid],
    ["fact.volatile", details.volatile && t("option.volatile.help")],
    ["fact.autostart", t(details.autostart ? "yes" : "no")],
    ["fact.last_end", !isAlive(summary.state) && details.last_end],
  ].filter(([, value]) => value);
  return html`
    ${details.warnings.map((warning) => html`<div class="banner warn" key=${warning}><${Icon} name="warning" /><span>${warning}</span></div>`)}
    <section class="card"><dl class="facts">${facts.map(([key, value]) => html`<div key=${key}><dt>${t(key)}</dt><dd>${value}</dd></div>`)}</dl></section>
    ${details.binds.length > 0 &&
    html`<h2>${t("fact.binds")}</h2>
      <section class="card"><ul class="plan">${details.binds.map((bind) => html`<li><code>${bind.source} → ${bind.destination}</code>${bind.read_only && html`<span class="quiet">${t("read_only")}</span>`}</li>`)}</ul></section>`}
    <${Protection} details=${details} />
    ${details.saved && spec && html`<${Ownership} name=${summary.name} alive=${isAlive(summary.state)} root=${details.rootfs} />`}
  `;
}

function Protection({ details }) {
  const withheld = Object.entries(details.withheld);
  return html`<h2>${t("protection.title")}</h2>
    <div class="groups">
      <details class="group">
        <summary><b class="grow">${t("protection.capabilities")}</b><span class="chip quiet">${withheld.length}</span><${Icon} name="chevron" /></summary>
        <ul class="plan">${withheld.map(([name, reason]) => html`<li key=${name}><code>${name}</code><span class="quiet">${reason}</span></li>`)}</ul>
      </details>
      <details class="group">
        <summary><b class="grow">${t("protection.calls")}</b><span class="chip quiet">${details.seccomp.length}</span><${Icon} name="chevron" /></summary>
        <ul class="plan">${details.seccomp.map((rule) => html`<li><code>${rule.names.join(", ")} → ${rule.errno}</code><span class="quiet">${rule.reason}</span></li>`)}</ul>
      </details>
    </div>`;
}

function Ownership({ name, alive, root }) {
  const id = useId();
  const [other, setOther] = useState("");
  const rename = async (event) => {
    event.preventDefault();
    if (!(await attempt("POST", containerPath(name, "rename"), { name: other }))) return;
    notify(t("container.renamed", { name: other }));
    go(["containers", other], { replace: true });
  };
  const remove = async () => {
    const sure = await ask({
      title: t("remove.title", { name }),
      text: t("remove.text", { root: root ?? "" }),
      typed: name,
      yes: t("remove.yes"),
      danger: true,
    });
    if (!sure || !(await attempt("DELETE", containerPath(name)))) return;
    notify(t("remove.done", { name }));
    go([], { replace: true });
  };
  return html`<h2>${t("container.manage")}</h2>
    <section class="card">
      <form class="inline" onSubmit=${rename}>
        <div class="field grow"><label for=${id}>${t("container.rename")}</label>
          <input id=${id} required maxlength="64" placeholder=${name} value=${other} disabled=${alive} autocomplete="off" autocapitalize="off"
            onInput=${(event) => setOther(event.target.value)} /></div>
        <button class="tonal-button" disabled=${alive || !other}>${t("container.rename_do")}</button>
      </form>
      <div class="inline"><p class="grow quiet">${t(alive ? "remove.stop_first" : "remove.help")}</p>
        <button class="outlined-button danger" disabled=${alive} onClick=${remove}><${Icon} name="trash" />${t("remove.title_short")}</button></div>
    </section>`;
}
