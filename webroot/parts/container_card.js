/** One container at a glance, with what is done to it most often. */

import { link } from "../router.js";
import { begin, cancel } from "../actions.js";
import { t } from "../language.js";
import { isAlive, state, underWay, stepOf } from "../state.js";
import { usage } from "../usage.js";
import { html } from "../view.js";
import { percent, size } from "../words.js";
import { Icon } from "./icon.js";
import { Sparkline } from "./sparkline.js";
import { StateChip } from "./state_chip.js";

export function ContainerCard({ container, chosen, setChosen }) {
  const { name } = container;
  const alive = isAlive(container.state);
  const toggle = (event) => {
    const after = new Set(chosen);
    if (event.target.checked) after.add(name);
    else after.delete(name);
    setChosen(after);
  };
  return html`<li class=${`card container-card ${container.state}`}>
    <div class="card-head">
      ${chosen && html`<label class="choice bare"><input type="checkbox" aria-label=${t("overview.choose", { name })} checked=${chosen.has(name)} onChange=${toggle} /></label>`}
      <a class="card-title" href=${link("containers", name)}>
        <b>${name}</b>
        <span class="quiet">${where(container)}</span>
        ${!alive && container.last_end && html`<span class="quiet">${t("fact.last_end")}: ${container.last_end}</span>`}
      </a>
      <${StateChip} state=${container.state} />
    </div>
    ${alive && html`<${Usage} name=${name} />`}
    <${CardActions} container=${container} />
  </li>`;
}

/** Where its root lies, and where it is reached. */
function where(container) {
  const network = container.address ?? (container.network === "none" ? t("network.none") : null);
  return [container.root, network].filter(Boolean).join(" · ");
}

function Usage({ name }) {
  const samples = usage.value.containers[name] ?? [];
  const last = samples.at(-1);
  return html`<div class="usage">
    <div>
      <span class="quiet">${t("host.cpu")}</span><b>${percent(last?.cpu)}</b>
      <${Sparkline} values=${samples.map((sample) => sample.cpu)} most=${100} colour="var(--chart-cpu)" />
    </div>
    <div>
      <span class="quiet">${t("host.memory")}</span><b>${size(last?.memory)}</b>
      <${Sparkline} values=${samples.map((sample) => sample.memory)} most=${last?.memory_limit ?? null} colour="var(--chart-memory)" />
    </div>
  </div>`;
}

/** The buttons of a container, or what is being done to it; `terminal` is false where there is a tab for that. */
export function CardActions({ container, terminal = true }) {
  const { name } = container;
  const operation = underWay(state.value.operations, name);
  if (operation) {
    return html`<div class="actions under-way" role="status">
      <span class="spinner"></span>
      <span class="grow">${stepOf(operation)}</span>
      <button class="text-button" onClick=${() => cancel(operation)}>${t("cancel")}</button>
    </div>`;
  }
  if (!isAlive(container.state)) {
    return html`<div class="actions">
      <button class="tonal-button" disabled=${Boolean(container.error)} aria-label=${t("action.start_named", { name })} onClick=${() => begin(name, "start")}>
        <${Icon} name="play" />${t("action.start")}
      </button>
    </div>`;
  }
  return html`<div class="actions">
    ${terminal &&
    html`<a class="tonal-button" href=${link("containers", name, "terminal")} aria-label=${t("action.terminal_named", { name })}>
        <${Icon} name="terminal" />${t("tab.terminal")}
      </a>
      <span class="grow"></span>`}
    <button class="icon-button" title=${t("action.restart")} aria-label=${t("action.restart_named", { name })} onClick=${() => begin(name, "restart")}><${Icon} name="refresh" /></button>
    <button class="icon-button" title=${t("action.stop")} aria-label=${t("action.stop_named", { name })} onClick=${() => begin(name, "stop")}><${Icon} name="stop" /></button>
  </div>`;
}
