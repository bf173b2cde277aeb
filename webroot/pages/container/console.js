/** A container's console: what its init prints, and where one can log in. */

import { call, containerPath } from "../../api/client.js";
import { InputQueue } from "../../api/input_queue.js";
import { t } from "../../language.js";
import { Inside } from "../../parts/inside.js";
import { notify } from "../../parts/notice.js";
import { Screen } from "../../parts/screen.js";
import { html, useEffect, useMemo } from "../../view.js";

export function Console({ summary }) {
  return html`<${Inside} summary=${summary}><${Attached} name=${summary.name} /><//>`;
}

function Attached({ name }) {
  const queue = useMemo(
    () => new InputQueue(({ data }) => call("POST", containerPath(name, "console", "input"), { data }), (problem) => notify(problem.message, "error")),
    [name],
  );
  useEffect(() => () => queue.leave(), [queue]);
  return html`<p class="quiet">${t("console.text")}</p>
    <${Screen} label=${t("tab.console")} request=${{ kind: "console", container: name }} send=${(bytes) => queue.send(bytes)}
      resize=${() => {}} ended=${(frame) => notify(frame.detail ?? t("console.ended"), frame.detail ? "error" : "info")} />`;
}
