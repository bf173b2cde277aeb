/** Which containers start with the device and in which order, and which keep it awake. */

import { t } from "../language.js";
import { link } from "../router.js";
import { containers } from "../state.js";
import { html, useId, useLayoutEffect, useRef, useState } from "../view.js";
import { Icon } from "./icon.js";

const POLICIES = ["never", "running", "charging"];

/** `list` is in the order of the starts; `order` gets the names in another one, `give(name, on)` switches one on or off. */
export function Autostart({ list, order, give }) {
  const names = list.map(({ name }) => name);
  const box = useRef(null);
  const moved = useRef(null);
  const [said, setSaid] = useState("");
  useLayoutEffect(() => {
    // A row that changes its place takes the keyboard along; at the end of the list, to its other button.
    if (!moved.current) return;
    const { name, step } = moved.current;
    const buttons = [...box.current.querySelectorAll("[data-step]")].filter((one) => one.dataset.name === name && !one.disabled);
    (buttons.find((one) => Number(one.dataset.step) === step) ?? buttons[0])?.focus();
    moved.current = null;
  });
  const move = (name, step) => {
    const place = names.indexOf(name) + step;
    const after = names.filter((one) => one !== name);
    after.splice(place, 0, name);
    moved.current = { name, step };
    setSaid(t("settings.moved", { name, place: place + 1, count: names.length }));
    order(after);
  };
  const leave = (name) => {
    box.current.focus();
    give(name, false);
  };
  const mover = (name, step, icon, disabled) =>
    html`<button class="icon-button" data-name=${name} data-step=${step} disabled=${disabled} aria-label=${t(`settings.${icon}`, { name })}
      onClick=${() => move(name, step)}><${Icon} name=${icon} /></button>`;
  return html`<section class="chosen" tabindex="-1" ref=${box} aria-label=${t("settings.autostart")}>
    <b>${t("settings.autostart")}</b>
    <p class="quiet">${t(list.length ? "settings.autostart_help" : "settings.autostart_none")}</p>
    <ol>${list.map(
      ({ name, start_after }, index) =>
        html`<li key=${name}><${Name} name=${name}>${start_after.length > 0 && html`<span class="quiet">${t("settings.after", { names: start_after.join(", ") })}</span>`}<//>
          ${list.length > 1 && html`${mover(name, -1, "up", index === 0)}${mover(name, 1, "down", index === list.length - 1)}`}
          <button class="icon-button" aria-label=${t("settings.leave", { name })} onClick=${() => leave(name)}><${Icon} name="close" /></button></li>`,
    )}</ol>
    <span class="hidden" role="status">${said}</span>
    <${Adder} label=${t("settings.autostart_add")} without=${names} add=${(name) => give(name, true)} />
  </section>`;
}

/** `list` has name and policy; `give(name, policy)` changes one. */
export function Wakelocks({ list, give }) {
  const box = useRef(null);
  const change = (name) => (event) => {
    if (event.target.value === "never") box.current.focus(); // its row goes
    give(name, event.target.value);
  };
  return html`<section class="chosen" tabindex="-1" ref=${box} aria-label=${t("settings.wakelock")}>
    <b>${t("settings.wakelock")}</b>
    <p class="quiet">${t(list.length ? "option.wakelock.help" : "settings.wakelock_none")}</p>
    <ul>${list.map(
      ({ name, policy }) =>
        html`<li key=${name}><${Name} name=${name} />
          <select aria-label=${t("settings.wakelock_of", { name })} value=${policy} onChange=${change(name)}>
            ${POLICIES.map((one) => html`<option key=${one} value=${one}>${t(`option.wakelock.${one}`)}</option>`)}
          </select></li>`,
    )}</ul>
    <${Adder} label=${t("settings.wakelock_add")} without=${list.map(({ name }) => name)} add=${(name) => give(name, "running")} />
  </section>`;
}

function Name({ name, children }) {
  return html`<a class="row-name" href=${link("containers", name, "configuration")}><b>${name}</b>${children}</a>`;
}

/** A choice of the containers that are not in the list yet. */
function Adder({ label, without, add }) {
  const id = useId();
  const [wanted, setWanted] = useState("");
  const names = containers.value.map(({ name }) => name).filter((name) => !without.includes(name));
  if (names.length === 0) return null;
  const chosen = names.includes(wanted) ? wanted : names[0];
  return html`<div class="adder"><div class="field grow"><label for=${id}>${label}</label>
    <select id=${id} value=${chosen} onChange=${(event) => setWanted(event.target.value)}>${names.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></div>
    <button class="tonal-button" aria-label=${t("settings.add_named", { name: chosen })} onClick=${() => add(chosen)}><${Icon} name="add" />${t("settings.add")}</button></div>`;
}
