/** The first view: the device, what needs attention, and a card for every container. */

import { t } from "../language.js";
import { ContainerCard } from "../parts/container_card.js";
import { Icon } from "../parts/icon.js";
import { Lazy, useAnswer, Waiting } from "../parts/loading.js";
import { link } from "../router.js";
import { containers, isAlive, lastLook, state } from "../state.js";
import { look, usage } from "../usage.js";
import { html, useEffect, useState } from "../view.js";
import { percent, size } from "../words.js";

const MANY = 8; // containers from which on looking for one by name is quicker than by eye

export function Overview() {
  useEffect(look, []);
  const [chosen, setChosen] = useState(null);
  const [sought, setSought] = useState("");
  const all = containers.value;
  const shown = all.filter((one) => one.name.toLowerCase().includes(sought.toLowerCase()));
  const running = all.filter((one) => isAlive(one.state)).length;
  return html`<div class="page wide">
    <header class="page-head">
      <div>
        <h1>${t("nav.containers")}</h1>
        ${state.value.ready && all.length > 0 && html`<p class="quiet">${t("overview.count", { count: all.length, running })}</p>`}
      </div>
      ${(all.length > 1 || chosen) &&
      html`<button class="text-button" aria-pressed=${chosen !== null} onClick=${() => setChosen(chosen ? null : new Set())}>
        <${Icon} name="check" />${t(chosen ? "overview.select_end" : "overview.select")}
      </button>`}
      ${all.length > 0 && html`<a class="filled-button create" href=${link("create")} aria-label=${t("create.title")}><${Icon} name="add" /><span>${t("create.title")}</span></a>`}
    </header>
    <${HostStrip} />
    <${Attention} />
    ${(all.length > MANY || sought) && html`<${Search} value=${sought} onInput=${setSought} />`}
    ${!state.value.ready && html`<${Waiting} />`}
    ${state.value.ready && all.length === 0 && html`<${Welcome} />`}
    <ul class="cards">
      ${shown.map((one) => html`<${ContainerCard} key=${one.name} container=${one} chosen=${chosen} setChosen=${setChosen} />`)}
    </ul>
    ${sought && shown.length === 0 && html`<p class="quiet">${t("overview.none_found")}</p>`}
    ${chosen && html`<${Lazy} name="Together" load=${() => import("../parts/together.js")} chosen=${chosen} all=${shown} setChosen=${setChosen} />`}
  </div>`;
}

function Search({ value, onInput }) {
  return html`<div class="search">
    <${Icon} name="search" />
    <input type="search" aria-label=${t("overview.search")} placeholder=${t("overview.search")} value=${value}
      onInput=${(event) => onInput(event.target.value)} />
  </div>`;
}

function Welcome() {
  return html`<section class="welcome">
    <span class="welcome-picture"><${Icon} name="box" size=${48} /></span>
    <h2>${t("welcome.title")}</h2>
    <p>${t("welcome.text")}</p>
    <div class="actions">
      <a class="filled-button" href=${link("create", "demo")}><${Icon} name="rocket" />${t("welcome.demo")}</a>
      <a class="tonal-button" href=${link("create")}><${Icon} name="add" />${t("create.title")}</a>
    </div>
  </section>`;
}

/** What the device has left, as far as it can tell. */
function HostStrip() {
  const host = usage.value.host;
  if (!host) return html`<dl class="strip" aria-busy="true"></dl>`;
  const tiles = [
    ["chip", "host.cpu", percent(host.cpu_percent), host.cpu_percent / 100],
    ["memory", "host.memory", t("host.free", { size: size(host.memory_available) }), 1 - host.memory_available / host.memory],
    ["disk", "host.disk", t("host.free", { size: size(host.disk_free) }), 1 - host.disk_free / host.disk],
    host.temperature !== null && ["heat", "host.temperature", `${Math.round(host.temperature)} °C`, host.temperature / 100],
    host.battery && [host.battery.charging ? "bolt" : "battery", host.battery.charging ? "host.charging" : "host.battery", percent(host.battery.percent), host.battery.percent / 100],
  ];
  return html`<dl class="strip">
    ${tiles.filter(Boolean).map(
      ([icon, label, value, part]) =>
        html`<div class="tile">
          <dt><${Icon} name=${icon} size=${20} />${t(label)}</dt>
          <dd>${value}<span class="bar"><span style=${{ width: `${Math.round(Math.min(1, Math.max(0, part || 0)) * 100)}%` }}></span></span></dd>
        </div>`,
    )}
  </dl>`;
}

/** What the user should know before they wonder why something does not work. */
function Attention() {
  const check = useAnswer("/check").value; // the views of these say what failed
  const settings = useAnswer("/settings").value;
  const update = useAnswer("/updates", lastLook.value?.ended_at).value;
  const missing = check?.requirements.filter((one) => one.required && one.state === "missing").length ?? 0;
  const names = Object.keys(settings?.kept_back ?? {});
  const kept = settings?.safe_mode ? t("attention.safe_mode") : names.length > 0 && t("attention.kept_back", { names: names.join(", ") });
  const broken = containers.value.filter((one) => one.error || ["crashed", "stuck", "unattended"].includes(one.state));
  return html`
    ${kept && html`<a class="banner warn" href=${link("settings")}><${Icon} name="warning" /><span>${kept}</span></a>`}
    ${update?.newer && html`<a class="banner warn" href=${link("about")}><${Icon} name="info" /><span>${t("updates.newer", { version: update.latest })}</span></a>`}
    ${missing > 0 &&
    html`<a class="banner warn" href=${link("check")}><${Icon} name="shield" /><span>${t("attention.check", { count: missing })}</span></a>`}
    ${broken.map(
      (one) =>
        html`<a class="banner error" key=${one.name} href=${link("containers", one.name)}>
          <${Icon} name="warning" /><span><b>${one.name}</b> ${one.error || t(`attention.${one.state}`)}</span>
        </a>`,
    )}
  `;
}
