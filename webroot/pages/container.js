/** One container: its head with what can be done, and tabs for all that can be told. */

import { containerPath } from "../api/client.js";
import { t } from "../language.js";
import { CardActions } from "../parts/container_card.js";
import { Icon } from "../parts/icon.js";
import "../parts/later_icons.js";
import { Lazy, useAnswer, Waiting } from "../parts/loading.js";
import { StateChip } from "../parts/state_chip.js";
import { go, link } from "../router.js";
import { state } from "../state.js";
import { html, useEffect, useRef } from "../view.js";

const TABS = {
  __proto__: null,
  overview: { name: "Details", load: () => import("./container/details.js") },
  terminal: { name: "Terminals", load: () => import("./container/terminal.js") },
  logs: { name: "Logs", load: () => import("./container/logs.js") },
  statistics: { name: "Statistics", load: () => import("./container/statistics.js") },
  processes: { name: "Processes", load: () => import("./container/processes.js") },
  configuration: { name: "Configuration", load: () => import("./container/configuration.js") },
  console: { name: "Console", load: () => import("./container/console.js") },
};

export function Container({ parts: [name, wanted] }) {
  const tab = wanted in TABS ? wanted : "overview";
  const summary = state.value.containers[name];
  if (!state.value.ready) return html`<div class="page"><${Waiting} /></div>`;
  if (!summary) return html`<${Gone} name=${name} />`;
  return html`<div class="page wide">
    <header class="page-head">
      <a class="icon-button" href=${link()} aria-label=${t("back")}><${Icon} name="back" /></a>
      <div class="head-name"><h1 class="name">${name}</h1><${StateChip} state=${summary.state} /></div>
      <${CardActions} container=${summary} terminal=${false} />
    </header>
    <${Tabs} name=${name} current=${tab} />
    <section role="tabpanel" aria-label=${t(`tab.${tab}`)} class="tab-panel">
      <${Tab} key=${`${name}/${tab}`} summary=${summary} tab=${tab} />
    </section>
  </div>`;
}

function Tab({ summary, tab }) {
  // Asked anew for every state: what is told of a container that runs differs from one that does not.
  const answer = useAnswer(containerPath(summary.name), summary.state);
  if (!answer.value) return html`<${Waiting} problem=${answer.problem} again=${answer.again} />`;
  return html`<${Lazy} ...${TABS[tab]} summary=${summary} answer=${answer.value} again=${answer.again} />`;
}

/** Arrow keys go from tab to tab, as the pattern for tabs asks. */
function Tabs({ name, current }) {
  const names = Object.keys(TABS);
  const list = useRef(null);
  useEffect(() => {
    list.current.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest", inline: "center" });
  }, [current]);
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = names[(names.indexOf(current) + step + names.length) % names.length];
    go(["containers", name, next], { replace: true });
    event.currentTarget.querySelector(`[data-tab="${next}"]`)?.focus();
  };
  return html`<div class="tabs" role="tablist" ref=${list} aria-label=${t("tab.label")} onKeyDown=${move}>
    ${names.map(
      (tab) =>
        html`<a role="tab" data-tab=${tab} key=${tab} href=${link("containers", name, tab)} aria-selected=${tab === current}
          tabindex=${tab === current ? 0 : -1}
          onClick=${(event) => {
            event.preventDefault(); // Back leaves the container rather than walking through its tabs
            go(["containers", name, tab], { replace: true });
          }}>${t(`tab.${tab}`)}</a>`,
    )}
  </div>`;
}

function Gone({ name }) {
  return html`<div class="page">
    <h1>${t("container.gone", { name })}</h1>
    <p><a class="filled-button" href=${link()}>${t("container.to_list")}</a></p>
  </div>`;
}
