/** The page's words: one catalogue per language in `locales/`, and English for what another one lacks. */

import { signal } from "./view.js";
import { remembered, remember } from "./preferences.js";

const English = "en";
const words = signal({});
const spare = signal({});

/** The language in use, by the name of its catalogue. */
export const language = signal(English);
/** What each language calls itself, by the name of its catalogue. */
export const languages = signal({ [English]: "English" });

/** Load a catalogue: of what was chosen before, else what the browser asks for, else English. */
export async function loadLanguage() {
  languages.value = await readJson("vendor/languages.json");
  await use(remembered("language") ?? preferred(navigator.languages, Object.keys(languages.value)));
}

/** Speak `name` from now on, and after a reload. */
export async function chooseLanguage(name) {
  remember("language", name);
  await use(name);
}

/**
 * The sentence for `key` with `{name}` replaced by `values.name`.  A count picks its form: with `values.count` 1,
 * `key.one` is taken where there is one.
 */
export function t(key, values = {}) {
  const all = key in words.value ? words.value : spare.value;
  const sentence = (values.count === 1 && all[`${key}.one`]) || (all[key] ?? key);
  return sentence.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** Whether there are words for `key`. */
export function known(key) {
  return key in words.value || key in spare.value;
}

/** Pure: the catalogue for a browser that asks for `wanted`, best first: zh-TW gets zh-CN rather than English. */
export function preferred(wanted, offered) {
  for (const tag of wanted) {
    const found =
      offered.find((name) => name.toLowerCase() === tag.toLowerCase()) ??
      offered.find((name) => name.split("-")[0] === tag.split("-")[0].toLowerCase());
    if (found) return found;
  }
  return English;
}

async function use(name) {
  const chosen = name in languages.value ? name : English;
  words.value = await readJson(`locales/${chosen}.json`);
  language.value = chosen;
  document.documentElement.lang = chosen;
  if (chosen !== English) void spareWords();
}

/** What stands in is not waited for: a catalogue that is complete never needs it. */
async function spareWords() {
  spare.value = await readJson(`locales/${English}.json`).catch(() => ({}));
}

async function readJson(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}
