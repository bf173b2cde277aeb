/** The options of a container as a form: groups that unfold, a sentence for every option. */

import { t } from "../language.js";
import { applies, countSet, GROUPS, NOTATION, withOption } from "../spec.js";
import { html, useId, useState } from "../view.js";
import { FromFile } from "./from_file.js";
import { Icon } from "./icon.js";

/** `change` gets the whole new spec. */
export function SpecForm({ spec, change }) {
  const groups = GROUPS.map((group) => ({ ...group, options: group.options.filter((option) => applies(option, spec)) }));
  return html`<div class="groups">
    ${groups.map((group) => html`<${Group} key=${group.id} group=${group} spec=${spec} change=${change} />`)}
  </div>`;
}

function Group({ group, spec, change }) {
  const set = countSet(spec, group);
  return html`<details class="group">
    <summary>
      <span class="grow"><b>${t(`group.${group.id}`)}</b><span class="quiet">${t(`group.${group.id}.help`)}</span></span>
      ${set > 0 && html`<span class="chip quiet">${t("form.set", { count: set })}</span>`}
      <${Icon} name="chevron" />
    </summary>
    <div class="fields">
      ${group.options.map(
        (option) =>
          html`<${Option} key=${option.key} option=${option} value=${spec[option.key]}
            change=${(value) => change(withOption(spec, option.key, value, option.usual))} />`,
      )}
    </div>
  </details>`;
}

function Option(properties) {
  const View = { switch: Switch, set: SetOfSwitches, choice: Choice, pairs: Variables }[properties.option.kind] ?? Written;
  return html`<${View} ...${properties} />`;
}

function Switch({ option, value, change }) {
  return html`<${Toggle} label=${t(`option.${option.key}`)} help=${t(`option.${option.key}.help`)} danger=${option.danger}
    checked=${value === true} change=${(on) => change(on || undefined)} />`;
}

function SetOfSwitches({ option, value, change }) {
  const chosen = value ?? [];
  return html`<fieldset>
    <legend>${t(`option.${option.key}`)}</legend>
    <p class="quiet">${t(`option.${option.key}.help`)}</p>
    ${option.choices.map(
      (choice) =>
        html`<${Toggle} key=${choice} label=${t(`option.${option.key}.${choice}`)} help=${t(`danger.${choice}`)} danger
          checked=${chosen.includes(choice)}
          change=${(on) => change(option.choices.filter((one) => (one === choice ? on : chosen.includes(one))))} />`,
    )}
  </fieldset>`;
}

function Choice({ option, value, change }) {
  const id = useId();
  return html`<div class="field">
    <label for=${id}>${t(`option.${option.key}`)}</label>
    <select id=${id} value=${value ?? option.usual} aria-describedby=${`${id}-help`} onChange=${(event) => change(event.target.value)}>
      ${option.choices.map((choice) => html`<option value=${choice}>${t(`option.${option.key}.${choice}`)}</option>`)}
    </select>
    <p id=${`${id}-help`} class="quiet">${t(`option.${option.key}.help`)}</p>
  </div>`;
}

/** Variables are written, or read from a file; those that are written win, as on the command line. */
function Variables({ option, value, change }) {
  const [round, setRound] = useState(0);
  const take = ({ env }) => {
    change({ ...env, ...value });
    setRound(round + 1); // the field shows what it has from the start
  };
  return html`<${Written} key=${round} option=${option} value=${value} change=${change} /><${FromFile} kind="variables" take=${take} />`;
}

/** A value that is written; what is being typed stays as it is typed, and goes on as it is where it can't be read. */
export function Written({ option, value, change }) {
  const id = useId();
  const notation = NOTATION[option.kind];
  const [text, setText] = useState(() => String(notation.print(value)));
  const several = !["text", "number", "size"].includes(option.kind);
  const wrong = Number.isNaN(notation.read(text));
  const input = (event) => {
    setText(event.target.value);
    const read = notation.read(event.target.value);
    change(Number.isNaN(read) ? event.target.value : read); // which the service refuses, with a sentence
  };
  const shared = { id, value: text, onInput: input, spellcheck: false, autocapitalize: "off", autocomplete: "off" };
  const more = { "aria-describedby": `${id}-help`, "aria-invalid": wrong || undefined, placeholder: option.example };
  return html`<div class="field">
    <label for=${id}>${t(`option.${option.key}`)}${option.danger && html` <${Icon} name="warning" size=${18} />`}</label>
    ${several
      ? html`<textarea rows="2" ...${shared} ...${more}></textarea>`
      : html`<input type="text" inputmode=${option.kind === "number" ? "decimal" : undefined} ...${shared} ...${more} />`}
    <p id=${`${id}-help`} class=${wrong ? "wrong" : "quiet"}>${wrong ? t(`form.not_a_${option.kind}`) : t(`option.${option.key}.help`)}</p>
  </div>`;
}

/** A switch with what it does. */
export function Toggle({ label, help, checked, change, danger = false, disabled = false }) {
  const id = useId();
  return html`<label class=${danger ? "toggle danger" : "toggle"}>
    <span class="grow"><span class="toggle-label">${label}${danger && html`<${Icon} name="warning" size=${18} />`}</span>
      ${help && html`<span class="quiet" id=${id}>${help}</span>`}</span>
    <input type="checkbox" role="switch" aria-describedby=${help ? id : undefined} aria-label=${label} checked=${checked} disabled=${disabled}
      onChange=${(event) => change(event.target.checked)} />
  </label>`;
}
