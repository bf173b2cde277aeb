/** The page's words: those of the first view, and the others when a later one is looked at (made of `locales/`). */

import { batch, signal } from "./view.js";
import { remembered, remember } from "./preferences.js";

const English = "en";
const words = signal({});
let whole = null; // a promise that is kept when the words of all views are there

/** The language in use, by the name of its catalogue. */
export const language = signal(English);
/** What each language calls itself, by the name of its catalogue. */
export const languages = signal({ [English]: "English" });

/** Load what the first view says: in what was chosen before, else in what the browser asks for, else in English. */
export async function loadLanguage() {
  languages.value = await readJson("vendor/languages.json");
  const wanted = remembered("language") ?? preferred(navigator.languages, Object.keys(languages.value));
  const name = wanted in languages.value ? wanted : English;
  speak(name, await part(name, "first"));
}

/** Load the words of all other views.  Raises Error; another attempt may do better. */
export function loadAllWords() {
  const name = language.value;
  whole ??= part(name, "later").then(
    (later) => language.value === name && speak(name, { ...words.value, ...later }),
    (error) => {
      whole = null;
      throw error;
    },
  );
  return whole;
}

/** Speak `name` from now on, and after a reload.  Raises Error; nothing has changed then. */
export async function chooseLanguage(name) {
  const [first, later] = await Promise.all([part(name, "first"), part(name, "later")]);
  remember("language", name);
  whole = Promise.resolve();
  speak(name, { ...first, ...later });
}

/**
 * The sentence for `key` with `{name}` replaced by `values.name`.  A count picks its form: with `values.count` 1,
 * `key.one` is taken where there is one.
 */
export function t(key, values = {}) {
  const all = words.value;
  const sentence = (values.count === 1 && all[`${key}.one`]) || (all[key] ?? key);
  return sentence.replace(/\{(\w+)\}/g, (found, name) => (name in values ? String(values[name]) : found));
}

/** Whether there are words for `key`. */
export function known(key) {
  return key in words.value;
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

function speak(name, all) {
  batch(() => {
    words.value = all;
    language.value = name;
  });
  document.documentElement.lang = name;
}

function part(name, which) {
  return readJson(`vendor/words/${name}.${which}.json`);
}

async function readJson(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}
