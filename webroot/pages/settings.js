/** How the page looks, what the service does by itself, and who may come in. */

import { attempt } from "../actions.js";
import { chooseLanguage, language, languages, t } from "../language.js";
import { ask } from "../parts/dialog.js";
import { Icon } from "../parts/icon.js";
import { useAnswer, Waiting } from "../parts/loading.js";
import { Toggle } from "../parts/spec_form.js";
import { link } from "../router.js";
import { chosenTheme, chooseTheme, THEMES } from "../theme.js";
import { html, useId, useState } from "../view.js";
import { moment } from "../words.js";

export function Settings() {
  return html`<div class="page">
    <header class="page-head"><h1>${t("nav.settings")}</h1></header>
    <h2>${t("settings.look")}</h2>
    <${Look} />
    <h2>${t("settings.service")}</h2>
    <${Service} />
    <h2>${t("settings.access")}</h2>
    <p class="quiet">${t("settings.access_help")}</p>
    <${Tokens} />
    <p><a class="tonal-button" href=${link("about")}><${Icon} name="info" />${t("about.title")}</a></p>
  </div>`;
}

function Look() {
  const id = useId();
  return html`<section class="card"><div class="fields">
    <div class="field"><label for=${id}>${t("settings.language")}</label>
      <select id=${id} value=${language.value} onChange=${(event) => chooseLanguage(event.target.value)}>
        ${Object.entries(languages.value).map(([name, label]) => html`<option key=${name} value=${name} lang=${name}>${label}</option>`)}
      </select></div>
    <fieldset><legend>${t("settings.theme")}</legend>
      <div class="segments">${THEMES.map((name) => html`<button key=${name} aria-pressed=${chosenTheme.value === name} onClick=${() => chooseTheme(name)}>${t(`theme.${name}`)}</button>`)}</div>
    </fieldset>
  </div></section>`;
}

function Service() {
  const { value, problem, again } = useAnswer("/settings");
  if (!value) return html`<${Waiting} problem=${problem} again=${again} />`;
  return html`<${Switches} saved=${value} again=${again} />`;
}

/** A switch moves at once, and back where the service refuses. */
function Switches({ saved, again }) {
  const [value, setValue] = useState(saved);
  const change = (key) => async (on) => {
    setValue({ ...value, [key]: on });
    if (!(await attempt("PUT", "/settings", { [key]: on }))) setValue(saved);
    again();
  };
  return html`<section class="card"><div class="fields">
    <${Toggle} label=${t("settings.safe_mode")} help=${t("settings.safe_mode_help")} checked=${value.safe_mode} change=${change("safe_mode")} />
    ${"wakelock" in value && html`<${Toggle} label=${t("settings.wakelock")} help=${t("settings.wakelock_help")} checked=${value.wakelock} change=${change("wakelock")} />`}
    <div><b>${t("settings.autostart")}</b>
      ${value.autostart.length === 0 && html`<p class="quiet">${t("settings.autostart_none")}</p>`}
      <ol class="points">${value.autostart.map(
        (one) =>
          html`<li key=${one.name}><a href=${link("containers", one.name, "configuration")}>${one.name}</a>
            ${one.start_after.length > 0 && html` <span class="quiet">${t("settings.after", { names: one.start_after.join(", ") })}</span>`}</li>`,
      )}</ol></div>
  </div></section>`;
}

function Tokens() {
  const { value, problem, again } = useAnswer("/tokens");
  if (!value) return html`<${Waiting} problem=${problem} again=${again} />`;
  const revoke = async (token) => {
    const text = t(token.current ? "settings.revoke_current" : "settings.revoke_text");
    if (!(await ask({ title: t("settings.revoke_title", { name: token.name }), text, yes: t("settings.revoke"), danger: true }))) return;
    await attempt("DELETE", `/tokens/${encodeURIComponent(token.id)}`);
    again();
  };
  return html`<ul class="card plan tokens">
    ${value.tokens.map(
      (token) =>
        html`<li key=${token.id} class="inline"><${Icon} name="key" />
          <span class="grow"><b>${token.name}</b>${token.current && html` <span class="chip good">${t("settings.this_page")}</span>`}
            <span class="quiet">${t("settings.token_facts", { uid: token.uid ?? "–", made: moment(token.created_at) })}</span>
            ${token.used_at && html`<span class="quiet">${t("settings.token_used", { used: moment(token.used_at) })}</span>`}</span>
          <button class="text-button danger" aria-label=${t("settings.revoke_named", { name: token.name })} onClick=${() => revoke(token)}>${t("settings.revoke")}</button></li>`,
    )}
  </ul>`;
}
