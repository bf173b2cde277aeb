/** The frame around every view: where one can go, where one is, and what is the matter. */

import { connection, reason } from "./api/client.js";
import { t } from "./language.js";
import { Locked } from "./pages/locked.js"; // at once: who is locked out gets no more files, either
import { Overview } from "./pages/overview.js";
import { Icon } from "./parts/icon.js";
import { Lazy } from "./parts/loading.js";
import { Notices } from "./parts/notice.js";
import { arrive, link, place } from "./router.js";
import { operations } from "./state.js";
import { html, useEffect, useRef } from "./view.js";

const DESTINATIONS = [
  { parts: [], icon: "box", label: "nav.containers" },
  { parts: ["operations"], icon: "tasks", label: "nav.operations" },
  { parts: ["check"], icon: "shield", label: "nav.check" },
  { parts: ["settings"], icon: "settings", label: "nav.settings" },
];

// Views that are not the first one are loaded when they are first looked at.
const VIEWS = {
  __proto__: null,
  containers: { name: "Container", load: () => import("./pages/container.js") },
  create: { name: "Create", load: () => import("./pages/create.js") },
  operations: { name: "Operations", load: () => import("./pages/operations.js") },
  check: { name: "Check", load: () => import("./pages/check.js") },
  settings: { name: "Settings", load: () => import("./pages/settings.js") },
  device: { name: "Device", load: () => import("./pages/device.js") },
  about: { name: "About", load: () => import("./pages/about.js") },
};

export function App() {
  const locked = connection.value === "locked";
  const [first, , tab] = place.value;
  const whole = first === "containers" && ["terminal", "console"].includes(tab);
  return html`<div class=${whole ? "app whole" : "app"}>
    <a class="skip" href="#main" onClick=${skipToMain}>${t("skip_to_content")}</a>
    ${!locked && html`<${Navigation} />`}
    <div class="screen">
      ${connection.value === "lost" && html`<div class="banner warn" role="status">${reason.value || t("connection.lost")}</div>`}
      ${connection.value === "stranger" && html`<div class="banner error" role="alert">${t("connection.stranger")}</div>`}
      ${locked ? html`<${Locked} />` : html`<${CurrentView} />`}
    </div>
    <${Notices} />
  </div>`;
}

function skipToMain(event) {
  event.preventDefault();
  document.querySelector("main")?.focus();
}

function Navigation() {
  const [first] = place.value;
  const busy = operations.value.filter((operation) => operation.state === "running").length;
  const isHere = (parts) => (parts[0] ?? "containers") === (["create", undefined].includes(first) ? "containers" : first);
  return html`<nav class="navigation" aria-label=${t("nav.label")}>
    <a class="brand" href=${link()} aria-label="Berth"><img src="icon.svg" alt="" width="40" height="40" /><span>Berth</span></a>
    ${DESTINATIONS.map(
      ({ parts, icon, label }) =>
        html`<a href=${link(...parts)} aria-current=${isHere(parts) ? "page" : undefined}>
          <span class="pill"><${Icon} name=${icon} />${label === "nav.operations" && busy > 0 && html`<span class="badge">${busy}</span>`}</span>
          <span>${t(label)}</span>
        </a>`,
    )}
  </nav>`;
}

function CurrentView() {
  const [first, ...rest] = place.value;
  const shown = useRef(null);
  useEffect(() => {
    const here = JSON.stringify([first, rest[0]]);
    if (shown.current !== null && shown.current !== here) arrive(); // or a screen reader stays where the old view was
    shown.current = here;
  }, [first, rest[0]]);
  const view = VIEWS[first];
  return html`<main id="main" tabindex="-1">
    ${view ? html`<${Lazy} key=${`${first}/${rest[0]}`} ...${view} parts=${rest} />` : html`<${Overview} />`}
  </main>`;
}
