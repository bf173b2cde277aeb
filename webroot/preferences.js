/** What a browser keeps about how the page looks; never a secret.  Storage that is switched off is done without. */

const prefix = "berth.";

/** What was kept as `name`; null where nothing was. */
export function remembered(name) {
  try {
    return localStorage.getItem(prefix + name);
  } catch {
    return null;
  }
}

/** Keep `value` as `name` for the next visit. */
export function remember(name, value) {
  try {
    localStorage.setItem(prefix + name, value);
  } catch {
    // It holds for this visit only.
  }
}
