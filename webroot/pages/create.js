/** A new container in three steps: where its files are, what it may do, and what its start will do. */

import { attempt, begin } from "../actions.js";
import { call, containerPath } from "../api/client.js";
import { t } from "../language.js";
import { ask } from "../parts/dialog.js";
import { FromFile } from "../parts/from_file.js";
import { Icon } from "../parts/icon.js";
import "../parts/later_icons.js";
import { Waiting } from "../parts/loading.js";
import { PlanList } from "../parts/plan_list.js";
import { SpecForm, Toggle, Written } from "../parts/spec_form.js";
import { arrive, go, link } from "../router.js";
import { dangers } from "../spec.js";
import { state } from "../state.js";
import { html, useEffect, useId, useState } from "../view.js";

const SOURCES = { __proto__: null, demo: "rocket", rootfs: "folder", image: "image" };
const EXAMPLES = { rootfs: "/data/local/debian", image: "/data/local/debian.img" };
const ROOM = { key: "volatile_size", kind: "size", example: "512M" };
const NAME = /^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$/; // escaped as the pattern of a field has to be

export function Create({ parts }) {
  const [source, setSource] = useState(parts[0] in SOURCES ? parts[0] : "rootfs");
  const [draft, setDraft] = useState({ name: parts[0] === "demo" ? unused("demo") : "" });
  const [options, setOptions] = useState({}); // which hold for the first start only
  const [planned, setPlanned] = useState(null);
  const [round, setRound] = useState(0);
  useEffect(() => void (planned !== null && arrive()), [planned]);
  const spec = specOf(draft, source);
  const change = (after) => setDraft((before) => ({ ...after, path: before.path }));
  const choose = (chosen) => {
    setSource(chosen);
    if (chosen === "demo" && !draft.name) setDraft({ ...draft, name: unused("demo") });
  };
  const fill = ({ spec: { rootfs, image, ...rest } }) => {
    setSource(image ? "image" : "rootfs");
    setDraft({ ...rest, ...(draft.net && { net: draft.net }), path: image ?? rootfs ?? "" });
    setRound(round + 1); // fields show what they have from the start
  };
  if (planned) return html`<${Review} spec=${spec} source=${source} options=${options} back=${() => setPlanned(false)} />`;
  const submit = async (event) => {
    event.preventDefault();
    if (await agreed(spec)) setPlanned(true);
  };
  return html`<form class="page" onSubmit=${submit}>
    <header class="page-head"><a class="icon-button" href=${link()} aria-label=${t("back")}><${Icon} name="back" /></a><h1>${t("create.title")}</h1></header>
    <${Sources} source=${source} choose=${choose} />
    <section class="card">
      <div class="fields">
        <${NameField} name=${draft.name} change=${(name) => setDraft({ ...draft, name })} />
        ${source !== "demo" && html`<${PathField} source=${source} path=${draft.path ?? ""} change=${(path) => setDraft({ ...draft, path })} />`}
        ${source !== "demo" &&
        html`<${Toggle} label=${t("option.volatile")} help=${t("option.volatile.help")} checked=${options.volatile === true}
          change=${(volatile) => setOptions(volatile ? { volatile } : {})} />`}
        ${source !== "demo" && options.volatile && html`<${Written} option=${ROOM} value=${options.volatile_size} change=${(size) => setOptions({ volatile: true, volatile_size: size })} />`}
      </div>
    </section>
    <${FromFile} kind="configuration" more=${{ net_chosen: draft.net !== undefined }} take=${fill} />
    <h2>${t("create.options")}</h2>
    <p class="quiet">${t("create.options_help")}</p>
    <${SpecForm} key=${round} spec=${spec} change=${({ rootfs, image, ...rest }) => change(rest)} />
    <div class="page-foot"><a class="text-button" href=${link()}>${t("cancel")}</a>
      <button type="submit" class="filled-button">${t("create.next")}</button></div>
  </form>`;
}

/** Ask whether what can happen is meant; a spec without dangers needs no question. */
export async function agreed(spec) {
  const points = dangers(spec).map((key) => t(key));
  const question = { title: t("danger.title"), text: t("danger.text"), points, yes: t("danger.yes"), danger: true };
  return points.length === 0 || ask(question);
}

function specOf({ path, ...draft }, source) {
  return source === "demo" ? draft : { ...draft, [source]: (path ?? "").trim() };
}

function unused(name) {
  const taken = state.value.containers;
  let free = name;
  for (let count = 2; free in taken; count += 1) free = `${name}-${count}`;
  return free;
}

function Sources({ source, choose }) {
  return html`<fieldset class="sources">
    <legend>${t("create.source")}</legend>
    ${Object.entries(SOURCES).map(
      ([name, icon]) =>
        html`<label class="source" key=${name}>
          <input type="radio" name="source" value=${name} checked=${source === name} onChange=${() => choose(name)} />
          <${Icon} name=${icon} />
          <span><b>${t(`source.${name}`)}</b><span class="quiet">${t(`source.${name}.help`)}</span></span>
        </label>`,
    )}
  </fieldset>`;
}

function NameField({ name, change }) {
  const id = useId();
  const problem = name && !NAME.test(name) ? t("create.name_wrong") : name in state.value.containers ? t("create.name_taken") : "";
  return html`<div class="field">
    <label for=${id}>${t("option.name")}</label>
    <input id=${id} name="name" required pattern=${NAME.source.slice(1, -1)} maxlength="64" autocomplete="off" autocapitalize="off" spellcheck=${false}
      placeholder="debian" value=${name} aria-describedby=${`${id}-help`} aria-invalid=${problem ? true : undefined} onInput=${(event) => change(event.target.value)} />
    <p id=${`${id}-help`} class=${problem ? "wrong" : "quiet"}>${problem || t("option.name.help")}</p>
  </div>`;
}

function PathField({ source, path, change }) {
  const id = useId();
  return html`<div class="field">
    <label for=${id}>${t(`option.${source}`)}</label>
    <input id=${id} name="path" required pattern="/.*" autocomplete="off" autocapitalize="off" spellcheck=${false} value=${path}
      placeholder=${EXAMPLES[source]} aria-describedby=${`${id}-help`} onInput=${(event) => change(event.target.value)} />
    <p id=${`${id}-help`} class="quiet">${t(`option.${source}.help`)}</p>
  </div>`;
}

/** The plan, and the last word. */
function Review({ spec, source, options, back }) {
  const [found, setFound] = useState({});
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    if (source === "demo") return; // its root is made first
    call("POST", "/plan", { spec, ...options }).then(
      (value) => setFound({ value }),
      (problem) => setFound({ problem }),
    );
  }, []);
  const make = async (start) => {
    setBusy(true);
    const made = await (source === "demo" ? attempt("POST", "/demo", { name: spec.name }) : attempt("POST", "/containers", { spec }));
    const complete = made && (source !== "demo" || (await withOptions(made.spec, spec)));
    setBusy(false);
    if (!made) return;
    if (!complete) return go(["containers", spec.name, "configuration"], { replace: true }); // it is there, with no options
    if (start) await begin(spec.name, "start", options);
    go(["containers", spec.name], { replace: true });
  };
  const ready = !busy && (source === "demo" || found.value);
  return html`<div class="page">
    <header class="page-head"><button class="icon-button" onClick=${back} aria-label=${t("back")}><${Icon} name="back" /></button>
      <h1>${t("create.review", { name: spec.name })}</h1></header>
    <p class="quiet">${t(source === "demo" ? "create.demo_text" : "create.review_text")}</p>
    ${source !== "demo" && (found.value ? html`<${PlanList} groups=${found.value.groups} />` : html`<${Waiting} problem=${found.problem} />`)}
    <div class="page-foot">
      <button class="text-button" onClick=${back}>${t("back")}</button>
      <button class="tonal-button" disabled=${!ready} onClick=${() => make(false)}>${t("create.only")}</button>
      <button class="filled-button" disabled=${!ready} onClick=${() => make(true)}><${Icon} name="play" />${t("create.start")}</button>
    </div>
  </div>`;
}

/** Give the demo, which has been `made`, the options that were chosen; what is returned says whether it has them. */
function withOptions(made, spec) {
  return Object.keys(spec).length === 1 || attempt("PUT", containerPath(spec.name), { spec: { ...made, ...spec } });
}
