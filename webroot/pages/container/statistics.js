/** Curves of the last two minutes as they come, or of a longer time where a history is kept. */

import { containerPath } from "../../api/client.js";
import { t } from "../../language.js";
import { Inside } from "../../parts/inside.js";
import { Charts, Past, Spans } from "../../parts/past.js";
import { look, usage } from "../../usage.js";
import { html, useEffect, useState } from "../../view.js";
import { number, percent, size } from "../../words.js";

export function Statistics({ summary }) {
  const [hours, setHours] = useState(0);
  return html`
    <${Spans} names=${["live", "day", "week"]} hours=${hours} choose=${setHours} />
    ${hours > 0 ? html`<${Past} key=${hours} path=${containerPath(summary.name, "history")} hours=${hours} />` : html`<${Inside} summary=${summary}><${Live} name=${summary.name} /><//>`}
  `;
}

function Live({ name }) {
  useEffect(look, []);
  const samples = usage.value.containers[name] ?? [];
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
