/** The page's first step: its words, its way in, its first view. */

import { connect } from "./api/client.js";
import { hasBridge } from "./api/way_in.js";
import { App } from "./app.js";
import { loadLanguage } from "./language.js";
import { reduce, state } from "./state.js";
import { takeManagersColours } from "./theme.js";
import { html, render } from "./view.js";

if (hasBridge()) takeManagersColours();
await Promise.all([
  loadLanguage(),
  connect((frame) => {
    state.value = reduce(state.value, frame);
  }),
]);
render(html`<${App} />`, document.getElementById("app"));
