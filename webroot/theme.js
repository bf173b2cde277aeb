/** Light, dark or AMOLED; "auto" follows the device and takes the manager's colours. */

import { effect, signal } from "./view.js";
import { remember, remembered } from "./preferences.js";

export const THEMES = ["auto", "light", "dark", "amoled"];
const dark = matchMedia("(prefers-color-scheme: dark)");
const deviceIsDark = signal(dark.matches);

/** What was chosen, one of THEMES. */
export const chosenTheme = signal(THEMES.includes(remembered("theme")) ? remembered("theme") : "auto");
/** What is shown: light, dark or amoled. */
export const theme = signal("light");

dark.addEventListener("change", () => {
  deviceIsDark.value = dark.matches;
});

effect(() => {
  theme.value = chosenTheme.value === "auto" ? (deviceIsDark.value ? "dark" : "light") : chosenTheme.value;
  document.documentElement.dataset.theme = theme.value;
});

/** Show `name` from now on, and after a reload. */
export function chooseTheme(name) {
  remember("theme", name);
  chosenTheme.value = name;
}

/** Load the manager's own colours and insets, which only its web view has. */
export function takeManagersColours() {
  for (const sheet of ["colors.css", "insets.css"]) {
    const found = document.createElement("link");
    found.rel = "stylesheet";
    found.href = `/internal/${sheet}`;
    document.head.prepend(found);
  }
}
