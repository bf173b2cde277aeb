/** What runs inside, asked anew every few seconds while it is looked at. */

import { containerPath } from "../../api/client.js";
import { t } from "../../language.js";
import { Inside } from "../../parts/inside.js";
import { useAnswer, Waiting } from "../../parts/loading.js";
import { html, useEffect, useState } from "../../view.js";
import { duration, size } from "../../words.js";

const EVERY = 3000; // ms
const COLUMNS = { inner_pid: 1, user: 1, command: 1, memory: -1, cpu_time: -1 }; // and the direction that is wanted first

export function Processes({ summary }) {
  return html`<${Inside} summary=${summary}><${Table} name=${summary.name} /><//>`;
}

function Table({ name }) {
  const { value, problem, again } = useAnswer(containerPath(name, "processes"));
  const [by, setBy] = useState("inner_pid");
  useEffect(() => {
    const ask = () => document.hidden || again();
    const timer = setTimeout(ask, EVERY);
    document.addEventListener("visibilitychange", ask);
    return () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", ask);
    };
  }, [value, problem]);
  if (!value) return html`<${Waiting} problem=${problem} again=${again} />`;
  const rows = [...value.processes].sort((a, b) => (a[by] < b[by] ? -1 : a[by] > b[by] ? 1 : 0) * COLUMNS[by]);
  return html`<div class="table" tabindex="0" role="region" aria-label=${t("tab.processes")}><table>
    <thead><tr>
      ${Object.keys(COLUMNS).map(
        (key) =>
          html`<th key=${key} scope="col" aria-sort=${key === by ? (COLUMNS[key] > 0 ? "ascending" : "descending") : undefined}>
            <button onClick=${() => setBy(key)}>${t(`process.${key}`)}</button></th>`,
      )}
    </tr></thead>
    <tbody>
      ${rows.map(
        (one) =>
          html`<tr key=${one.pid}><td>${one.inner_pid ?? one.pid}</td><td>${one.user}</td><td class="command">${one.command}</td>
            <td>${size(one.memory)}</td><td>${duration(one.cpu_time)}</td></tr>`,
      )}
    </tbody>
  </table></div>`;
}
