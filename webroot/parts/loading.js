/** What is fetched once for a view, and a view that is loaded when it is first looked at. */

import { html, useEffect, useState } from "../view.js";
import { assure, call, connection } from "../api/client.js";
import { loadAllWords, t } from "../language.js";
import { loadStyle } from "./style_sheet.js";

/**
 * The answer to GET `path`, and a function that asks again: `{value, problem, again}`; it is asked again, too, when
 * `since` changes.  A late answer to an earlier path is dropped.
 */
export function useAnswer(path, since) {
  const [found, setFound] = useState({ path: null });
  const [round, setRound] = useState(0);
  useEffect(() => {
    let wanted = true;
    call("GET", path).then(
      (value) => wanted && setFound({ path, value }),
      (problem) => wanted && setFound({ path, problem }),
    );
    return () => {
      wanted = false;
    };
  }, [path, since, round]);
  const current = found.path === path ? found : {};
  const again = () => setRound((before) => before + 1);
  useReturn(current.problem, again);
  return { value: current.value, problem: current.problem, again };
}

/** Do `again` what has failed with `problem`, once the service is back that did not answer. */
function useReturn(problem, again) {
  const back = connection.value === "open";
  useEffect(() => void (back && problem?.status === 0 && again()), [back]);
}

/** Shown until an answer is there, or instead of one that failed. */
export function Waiting({ problem, again }) {
  if (!problem) return html`<div class="waiting" role="status"><span class="spinner"></span>${t("loading")}</div>`;
  return html`<div class="banner error" role="alert">
    <span>${problem.message}</span>
    ${again && html`<button class="text-button" onClick=${again}>${t("try_again")}</button>`}
  </div>`;
}

/** A view in a module of its own: `load` imports it, `name` is what it exports. */
export function Lazy({ load, name, ...properties }) {
  const [found, setFound] = useState({ name: null });
  const [round, setRound] = useState(0);
  useEffect(() => {
    let wanted = true;
    assure().then(() => Promise.all([load(), loadStyle("views.css"), loadAllWords()])).then(
      ([module]) => wanted && setFound({ name, View: module[name] }),
      (problem) => wanted && setFound({ name, problem }),
    );
    return () => {
      wanted = false;
    };
  }, [name, round]);
  const again = () => setRound((before) => before + 1);
  const problem = found.name === name ? found.problem : undefined;
  useReturn(problem, again);
  if (found.name !== name || !found.View) return html`<${Waiting} problem=${problem} again=${again} />`;
  return html`<${found.View} ...${properties} />`;
}
