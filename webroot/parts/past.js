/** Curves over a time, and the choice of that. */

import { t } from "../language.js";
import { link } from "../router.js";
import { html } from "../view.js";
import { percent, size } from "../words.js";
import { Chart } from "./chart.js";
import { useAnswer, Waiting } from "./loading.js";

const HOURS = { live: 0, day: 24, week: 168 };

/** The spans in `names` to choose from. */
export function Spans({ names, hours, choose }) {
  return html`<div class="segments" role="group" aria-label=${t("statistics.span")}>${names.map(
    (name) => html`<button key=${name} aria-pressed=${hours === HOURS[name]} onClick=${() => choose(HOURS[name])}>${t(`statistics.${name}`)}</button>`,
  )}</div>`;
}

/** What was used in the last `hours`, as the history at `path` of the API tells it; `ofDevice` counts no cached files. */
export function Past({ path, hours, ofDevice = false }) {
  const { value, problem, again } = useAnswer(`${path}?hours=${hours}`);
  if (!value) return html`<${Waiting} problem=${problem} again=${again} />`;
  if (!value.on) return html`<p class="quiet">${t("statistics.history_off")}</p><a class="tonal-button" href=${link("settings")}>${t("nav.settings")}</a>`;
  if (value.points.length === 0) return html`<p class="quiet">${t("statistics.history_none")}</p>`;
  const most = (key, shown) => {
    const known = series(key).filter((amount) => amount !== null);
    return known.length > 0 ? t("statistics.most", { value: shown(Math.max(...known)) }) : "–";
  };
  const series = (key) => value.points.map((point) => point[key]);
  const charts = [
    { id: "cpu", now: most("cpu", percent), shown: percent, curves: [["statistics.cpu", series("cpu")]] },
    { id: "memory", bare: ofDevice, now: most("memory", size), shown: size, curves: [["statistics.memory", series("memory")]] },
  ];
  return html`<${Charts} charts=${charts} at=${value.points.map((point) => point.at)} seconds=${hours * 3600} />`;
}

/** `charts` have an id, what holds `now`, how a value is `shown`, and their curves; a `bare` one has no explanation. */
export function Charts({ charts, at, seconds }) {
  return html`<div class="charts">
    ${charts.map(
      ({ id, bare, now, shown, curves }) =>
        html`<section class="card" key=${id}><h2>${t(`statistics.${id}`)}</h2><p class="big">${now}</p>
          ${!bare && html`<p class="quiet">${t(`statistics.${id}_help`)}</p>`}
          <${Chart} at=${at} curves=${curves} shown=${shown} seconds=${seconds} /></section>`,
    )}
  </div>`;
}
