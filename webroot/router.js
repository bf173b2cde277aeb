/** Where the page is, kept in the fragment so that Android's Back works and no server has to know of it. */

import { signal } from "./view.js";

/** The parts of the fragment, decoded: `#/containers/a%20b/log` is ["containers", "a b", "log"]. */
export const place = signal(read());

/** The fragment for `parts`, to be an `href`. */
export function link(...parts) {
  return "#/" + parts.map(encodeURIComponent).join("/");
}

/** Go to `parts`; `replace` leaves no step to come back to. */
export function go(parts, { replace = false } = {}) {
  if (replace) history.replaceState(null, "", link(...parts));
  else history.pushState(null, "", link(...parts));
  place.value = read();
}

addEventListener("popstate", () => {
  place.value = read(); // a link was followed, or Back
});

/** Begin at the top of what is shown now, the keyboard and a screen reader as well. */
export function arrive() {
  document.getElementById("main").focus({ preventScroll: true });
  scrollTo(0, 0);
}

function read() {
  if (!location.hash.startsWith("#/")) return [];
  try {
    return location.hash.slice(2).split("/").filter(Boolean).map(decodeURIComponent);
  } catch {
    return []; // a percent sign that encodes nothing
  }
}
