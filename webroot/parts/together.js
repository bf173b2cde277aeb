/** Starting, stopping and restarting several containers at once. */

import { begin } from "../actions.js";
import { t } from "../language.js";
import { isAlive } from "../state.js";
import { html } from "../view.js";
import { Icon } from "./icon.js";

export function Together({ chosen, all, setChosen }) {
  const picked = all.filter((one) => chosen.has(one.name));
  const act = (verb, fits) => () => {
    for (const one of picked.filter(fits)) void begin(one.name, verb);
    setChosen(null);
  };
  const alive = (one) => isAlive(one.state);
  const button = (verb, icon, fits) =>
    html`<button class="tonal-button" disabled=${!picked.some(fits)} onClick=${act(verb, fits)}><${Icon} name=${icon} />${t(`action.${verb}`)}</button>`;
  return html`<div class="together" role="toolbar" aria-label=${t("overview.together")}>
    <label class="choice">
      <input type="checkbox" checked=${picked.length === all.length && all.length > 0}
        onChange=${(event) => setChosen(new Set(event.target.checked ? all.map((one) => one.name) : []))} />
      <span>${t("overview.chosen", { count: picked.length })}</span>
    </label>
    ${button("start", "play", (one) => !alive(one))} ${button("stop", "stop", alive)} ${button("restart", "refresh", alive)}
  </div>`;
}
