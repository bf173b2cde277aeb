/** Curves of the last two minutes as they come, or of a longer time where a history is kept. */

import { t } from "../../language.js";
import { Chart } from "../../parts/chart.js";
import { useAnswer, Waiting } from "../../parts/loading.js";
import { link } from "../../router.js";
import { isAlive } from "../../state.js";
import { look, usage } from "../../usage.js";
import { html, useEffect, useState } from "../../view.js";
import { number, percent, size } from "../../words.js";

const SPANS = [["live", 0], ["day", 24], ["week", 168]]; // hours

export function Statistics({ summary }) {
  const [hours, setHours] = useState(0);
  return html`
    <div class="segments" role="group" aria-label=${t("statistics.span")}>${SPANS.map(
      ([name, span]) => html`<button key=${name} aria-pressed=${hours === span} onClick=${() => setHours(span)}>${t(`statistics.${name}`)}</button>`,
    )}</div>
    ${hours > 0 ? html`<${Past} key=${hours} name=${summary.name} hours=${hours} />` : html`<${Live} summary=${summary} />`}
  `;
}

function Live({ summary }) {
  useEffect(look, []);
  if (!isAlive(summary.state)) return html`<p class="quiet">${t("container.not_running")}</p>`;
  const samples = usage.value.containers[summary.name] ?? [];
  const last = samples.at(-1);
  const series = (read) => samples.map((sample) => read(sample) ?? null);
  const pressures = Object.keys(last?.pressure ?? {});
  const charts = [
    { id: "cpu", now: percent(last?.cpu), shown: percent, curves: [["statistics.cpu", series((s) => s.cpu)]] },
    { id: "memory", now: size(last?.memory), shown: size, curves: [["statistics.memory", series((s) => s.memory)]] },
    last?.network && {
      id: "network",
      now: `↓ ${size(last.received)}/s  ↑ ${size(last.sent)}/s`,
      shown: size,
      curves: [["statistics.received", series((s) => s.received)], ["statistics.sent", series((s) => s.sent)]],
    },
    pressures.length > 0 && {
      id: "pressure",
      now: pressures.map((kind) => `${t(`statistics.pressure.${kind}`)} ${percent(last.pressure[kind])}`).join(" · "),
      shown: percent,
      curves: pressures.map((kind) => [`statistics.pressure.${kind}`, series((s) => s.pressure[kind])]),
    },
  ].filter(Boolean);
  return html`
    <dl class="strip">
      <div class="tile"><dt>${t("statistics.processes")}</dt><dd>${last ? number(last.processes) : "–"}</dd></div>
      <div class="tile"><dt>${t("statistics.limit")}</dt><dd>${last?.memory_limit ? size(last.memory_limit) : t("statistics.no_limit")}</dd></div>
    </dl>
    <${Charts} charts=${charts} at=${samples.map((sample) => sample.at)} />
  `;
}

function Past({ name, hours }) {
  const { value, problem, again } = useAnswer(`/containers/${encodeURIComponent(name)}/history?hours=${hours}`);
  if (!value) return html`<${Waiting} problem=${problem} again=${again} />`;
  if (!value.on) return html`<p class="quiet">${t("statistics.history_off")}</p><a class="tonal-button" href=${link("settings")}>${t("nav.settings")}</a>`;
  if (value.points.length === 0) return html`<p class="quiet">${t("statistics.history_none")}</p>`;
  const most = (key) => Math.max(...value.points.map((point) => point[key] ?? 0));
  const series = (key) => value.points.map((point) => point[key]);
  const charts = [
    { id: "cpu", now: t("statistics.most", { value: percent(most("cpu")) }), shown: percent, curves: [["statistics.cpu", series("cpu")]] },
    { id: "memory", now: t("statistics.most", { value: size(most("memory")) }), shown: size, curves: [["statistics.memory", series("memory")]] },
  ];
  return html`<${Charts} charts=${charts} at=${value.points.map((point) => point.at)} seconds=${hours * 3600} />`;
}

function Charts({ charts, at, seconds }) {
  return html`<div class="charts">
    ${charts.map(
      ({ id, now, shown, curves }) =>
        html`<section class="card" key=${id}><h2>${t(`statistics.${id}`)}</h2><p class="big">${now}</p>
          <p class="quiet">${t(`statistics.${id}_help`)}</p>
          <${Chart} at=${at} curves=${curves} shown=${shown} seconds=${seconds} /></section>`,
    )}
  </div>`;
}
