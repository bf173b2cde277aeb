/** What the device has used in the last days, where a history is kept. */

import { t } from "../language.js";
import { Icon } from "../parts/icon.js";
import "../parts/later_icons.js";
import { Past, Spans } from "../parts/past.js";
import { link } from "../router.js";
import { html, useState } from "../view.js";

export function Device() {
  const [hours, setHours] = useState(24);
  return html`<div class="page wide">
    <header class="page-head"><a class="icon-button" href=${link("settings")} aria-label=${t("back")}><${Icon} name="back" /></a><h1>${t("device.title")}</h1></header>
    <${Spans} names=${["day", "week"]} hours=${hours} choose=${setHours} />
    <${Past} key=${hours} path="/host/history" hours=${hours} ofDevice />
  </div>`;
}
