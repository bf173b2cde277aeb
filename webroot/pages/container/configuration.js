/** What a container is given: as a form, as it is stored, and what a start would make of it. */

import { attempt, begin } from "../../actions.js";
import { call, containerPath } from "../../api/client.js";
import { t } from "../../language.js";
import { notify } from "../../parts/notice.js";
import { Waiting } from "../../parts/loading.js";
import { PlanList } from "../../parts/plan_list.js";
import { SpecForm } from "../../parts/spec_form.js";
import { readSpec } from "../../spec.js";
import { isAlive } from "../../state.js";
import { html, useEffect, useId, useLayoutEffect, useRef, useState } from "../../view.js";
import { agreed } from "../create.js";

const SHAPES = ["form", "raw", "plan"];

export function Configuration({ summary, answer: { spec: saved }, again }) {
  const [shape, setShape] = useState("form");
  const [written, setWritten] = useState(null); // what is saved, until something is changed
  const [wrong, setWrong] = useState("");
  const [round, setRound] = useState(0);
  const text = JSON.stringify(saved);
  const last = useRef(text);
  useLayoutEffect(() => {
    // At once: what is typed between this answer and an effect that comes later would be forgotten by that.
    if (last.current === text) return;
    last.current = text;
    if (JSON.stringify(written) === text) setWritten(null);
    else if (!written) setRound(round + 1); // somebody else has saved
  }, [text]);
  if (!saved) return html`<p class="quiet">${t("configuration.not_saved")}</p>`;
  const spec = written ?? saved;
  const changed = JSON.stringify(spec) !== text;
  const save = async (restart) => {
    if (!(await agreed(spec))) return;
    const answer = await attempt("PUT", containerPath(summary.name), { spec });
    if (!answer) return;
    setWritten(answer.spec); // as it is spelled now that it is saved
    notify(t(isAlive(summary.state) && !restart ? "configuration.saved_later" : "configuration.saved"));
    again();
    if (restart) await begin(summary.name, "restart");
  };
  const discard = () => {
    setWritten(null);
    setWrong("");
    setRound(round + 1); // fields show what they have from the start
  };
  const look = (one) => {
    setShape(one);
    setWrong(""); // what could not be read stays behind
  };
  const views = {
    form: () => html`<${SpecForm} key=${round} spec=${spec} change=${setWritten} />`,
    raw: () => html`<${Raw} key=${round} spec=${spec} change=${setWritten} wrong=${wrong} complain=${setWrong} />`,
    plan: () => html`<${Planned} spec=${spec} />`,
  };
  return html`
    <div class="segments" role="group" aria-label=${t("configuration.shape")}>
      ${SHAPES.map((one) => html`<button key=${one} aria-pressed=${shape === one} onClick=${() => look(one)}>${t(`configuration.${one}`)}</button>`)}
    </div>
    <p class="quiet">${t(`configuration.${shape}_help`)}</p>
    ${views[shape]()}
    ${(changed || wrong) &&
    html`<div class="page-foot">
      <button class="text-button" onClick=${discard}>${t("configuration.discard")}</button>
      ${isAlive(summary.state) && html`<button class="tonal-button" disabled=${Boolean(wrong)} onClick=${() => save(true)}>${t("configuration.save_restart")}</button>`}
      <button class="filled-button" disabled=${Boolean(wrong)} onClick=${() => save(false)}>${t("configuration.save")}</button>
    </div>`}
  `;
}

/** The spec as JSON; it becomes the spec as soon as it can be read, and `complain` hears why it can't. */
function Raw({ spec, change, wrong, complain }) {
  const id = useId();
  const [text, setText] = useState(() => JSON.stringify(spec, null, 2));
  const input = (event) => {
    setText(event.target.value);
    try {
      change(readSpec(event.target.value));
      complain("");
    } catch (error) {
      complain(error instanceof SyntaxError ? error.message : t("configuration.no_spec"));
    }
  };
  return html`<div class="field">
    <label for=${id}>${t("configuration.raw")}</label>
    <textarea id=${id} class="code" rows="18" spellcheck=${false} autocapitalize="off" aria-invalid=${wrong ? true : undefined} aria-describedby=${`${id}-help`}
      value=${text} onInput=${input}></textarea>
    <p id=${`${id}-help`} class="wrong">${wrong}</p>
  </div>`;
}

function Planned({ spec }) {
  const [found, setFound] = useState({});
  useEffect(() => {
    call("POST", "/plan", { spec }).then(
      (value) => setFound({ value }),
      (problem) => setFound({ problem }),
    );
  }, []);
  return found.value ? html`<${PlanList} groups=${found.value.groups} />` : html`<${Waiting} problem=${found.problem} />`;
}
