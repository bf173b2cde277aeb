/** How the page looks, what the service does by itself, and who may come in. */

import { attempt } from "../actions.js";
import { containerPath } from "../api/client.js";
import { chooseLanguage, language, languages, t } from "../language.js";
import { Autostart, Wakelocks } from "../parts/autostart.js";
import { ask } from "../parts/dialog.js";
import { Icon } from "../parts/icon.js";
import "../parts/later_icons.js";
import { useAnswer, Waiting } from "../parts/loading.js";
import { notify } from "../parts/notice.js";
import { Toggle } from "../parts/spec_form.js";
import { link } from "../router.js";
import { isAlive, state } from "../state.js";
import { chosenTheme, chooseTheme, THEMES } from "../theme.js";
import { html, useId, useRef, useState } from "../view.js";
import { moment } from "../words.js";

const REFUSED = [401, 403, 421, 429];

export function Settings() {
  return html`<div class="page">
    <header class="page-head"><h1>${t("nav.settings")}</h1></header>
    <h2>${t("settings.look")}</h2>
    <${Look} />
    <h2>${t("settings.service")}</h2>
    <${Service} />
    <h2>${t("settings.access")}</h2>
    <p class="quiet">${t("settings.access_help")}</p>
    <${Apps} />
    <${Refused} />
    <p><a class="tonal-button" href=${link("about")}><${Icon} name="info" />${t("about.title")}</a></p>
  </div>`;
}

function Look() {
  const id = useId();
  const choose = (event) => chooseLanguage(event.target.value).catch((problem) => notify(problem.message, "error"));
  return html`<section class="card"><div class="fields">
    <div class="field"><label for=${id}>${t("settings.language")}</label>
      <select id=${id} value=${language.value} onChange=${choose}>
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
  return html`<${Choices} saved=${value} />`;
}

/** What is chosen shows at once, and as it was where the service refuses; one change is made after the other. */
function Choices({ saved }) {
  const [value, setValue] = useState(saved);
  const line = useRef({ end: Promise.resolve(), length: 0 });
  const begin = (shown, ask) => {
    const { current } = line;
    setValue((before) => ({ ...before, ...shown }));
    current.length += 1;
    current.end = current.end.then(async () => {
      const answer = (await ask()) ?? (await attempt("GET", "/settings"));
      current.length -= 1;
      if (answer && current.length === 0) setValue(answer); // or what was chosen since would jump back for a moment
    });
  };
  const put = (body, shown) => begin(shown, () => attempt("PUT", "/settings", body));
  const change = (key) => (on) => put({ [key]: on }, { [key]: on });
  const order = (names) => put({ autostart: names }, { autostart: names.map((name) => value.autostart.find((one) => one.name === name)) });
  const start = (name, on) => begin({}, () => setOption(name, "autostart", on));
  const keepAwake = (name, policy) => {
    const wakelock = value.wakelock.map((one) => (one.name === name ? { name, policy } : one));
    begin({ wakelock }, () => setOption(name, "wakelock", policy));
  };
  return html`<section class="card"><div class="fields">
    <${KeptBack} names=${value.kept_back} again=${() => change("safe_mode")(false)} />
    <${Toggle} label=${t("settings.safe_mode")} help=${t("settings.safe_mode_help")} checked=${value.safe_mode} change=${change("safe_mode")} />
    <${Toggle} label=${t("settings.history")} help=${t("settings.history_help")} checked=${value.history} change=${change("history")} />
    ${value.history && html`<a class="text-button" href=${link("device")}>${t("device.title")}</a>`}
    <${Autostart} list=${value.autostart} order=${order} give=${start} />
    <${Wakelocks} list=${value.wakelock} give=${keepAwake} />
  </div></section>`;
}

/** Change one option of the saved container `name`; the user is told where that does not hold at once. */
async function setOption(name, key, value) {
  const path = containerPath(name);
  const found = await attempt("GET", path);
  if (!found || !(await attempt("PUT", path, { spec: { ...found.spec, [key]: value } }))) return;
  if (key === "wakelock" && isAlive(state.value.containers[name]?.state)) notify(t("configuration.saved_later"));
}

/** What did not start with the device, why, and one press that starts it again. */
function KeptBack({ names, again }) {
  const kept = Object.entries(names);
  if (kept.length === 0) return null;
  const reasons = [...new Set(kept.map(([, why]) => why))];
  return html`<div class="banner warn kept-back" role="status"><${Icon} name="warning" />
    <span class="grow"><b>${t("attention.kept_back", { names: kept.map(([name]) => name).join(", ") })}</b>
      ${reasons.map((why) => html`<span class="quiet">${why}</span>`)}</span>
    <button class="text-button" onClick=${again}>${t("try_again")}</button>
  </div>`;
}

/** Every app that was let in, with its keys: one can be taken away, or all of them. */
function Apps() {
  const apps = useAnswer("/apps");
  const tokens = useAnswer("/tokens");
  if (!apps.value || !tokens.value) return html`<${Waiting} problem=${apps.problem ?? tokens.problem} again=${apps.again} />`;
  const again = () => {
    apps.again();
    tokens.again();
  };
  const takeAway = async (path, words, current) => {
    const text = t(current ? "settings.revoke_current" : "settings.revoke_text");
    if (!(await ask({ ...words, text, danger: true }))) return;
    await attempt("DELETE", path);
    again();
  };
  const unpair = (app) =>
    takeAway(`/apps/${app.uid}`, { title: t("settings.unpair_title", { name: nameOf(app) }), yes: t("settings.unpair") }, app.current);
  const revoke = (token) =>
    takeAway(`/tokens/${encodeURIComponent(token.id)}`, { title: t("settings.revoke_title", { name: token.name }), yes: t("settings.revoke") }, token.current);
  return apps.value.apps.map(
    (app) => html`<section class="card paired" key=${app.uid}>
      <div class="card-head">
        <span class="card-title"><b>${nameOf(app)}</b>
          <span class="quiet">${app.used_at ? t("settings.token_used", { used: moment(app.used_at) }) : t("settings.never_used")}</span></span>
        <button class="text-button danger" aria-label=${t("settings.unpair_named", { name: nameOf(app) })} onClick=${() => unpair(app)}>${t("settings.unpair")}</button>
      </div>
      <details open=${app.current}><summary>${t("settings.keys", { count: app.tokens })}</summary>
        <ul class="plan tokens">${tokens.value.tokens
          .filter((token) => token.uid === app.uid)
          .map((token) => html`<${Token} key=${token.id} token=${token} revoke=${revoke} />`)}</ul></details>
    </section>`,
  );
}

/** Who tried to come in and may not, as far as the log of late tells. */
function Refused() {
  const { value } = useAnswer("/audit");
  const found = new Map();
  for (const { uid, at, status } of value?.entries ?? [])
    if (REFUSED.includes(status)) found.set(uid, { count: (found.get(uid)?.count ?? 0) + 1, at });
  if (found.size === 0) return null;
  return html`<section class="card refused"><b>${t("settings.refused")}</b><p class="quiet">${t("settings.refused_help")}</p>
    <ul class="plan">${[...found].reverse().map(
      ([uid, { count, at }]) =>
        html`<li key=${uid}><span>${uid === 0 ? "root" : t("settings.app", { uid })}</span><span class="quiet">${t("settings.refused_times", { count, when: moment(at) })}</span></li>`,
    )}</ul></section>`;
}

/** What runs under the app's uid, as far as Android tells. */
function nameOf({ uid, names }) {
  return names.length > 0 ? names.join(", ") : t("settings.app", { uid });
}

function Token({ token, revoke }) {
  return html`<li class="inline"><${Icon} name="key" />
    <span class="grow"><b>${token.name}</b>${token.current && html` <span class="chip good">${t("settings.this_page")}</span>`}
      <span class="quiet">${t("settings.token_made", { made: moment(token.created_at) })}</span></span>
    <button class="text-button danger" aria-label=${t("settings.revoke_named", { name: token.name })} onClick=${() => revoke(token)}>${t("settings.revoke")}</button></li>`;
}
