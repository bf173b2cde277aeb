/** Reading a file of the device, or its text, into a form: what `--conf` and `--env-file` do on a command line. */

import { call } from "../api/client.js";
import { hasBridge } from "../api/way_in.js";
import { t } from "../language.js";
import { html, useId, useState } from "../view.js";
import { Icon } from "./icon.js";

const EXAMPLES = { configuration: "/sdcard/container.config", variables: "/sdcard/variables.env" };

const MOST = 65_536; // bytes: more than the service takes, which says so, and no film that was chosen by mistake

/** `kind` is one of EXAMPLES, `more` goes with the request, `take` gets the answer. */
export function FromFile({ kind, more = {}, take }) {
  const id = useId();
  const [given, setGiven] = useState({ path: "", text: "" });
  const [told, setTold] = useState({ remarks: [] });
  const change = (key) => (event) => setGiven({ ...given, [key]: event.target.value });
  const choose = async (event) => {
    const [file] = event.target.files;
    if (!file) return;
    try {
      setGiven({ path: "", text: await file.slice(0, MOST).text() });
    } catch (error) {
      setTold({ wrong: error.message, remarks: [] });
    }
  };
  const read = async () => {
    try {
      const found = await call("POST", `/read/${kind}`, { ...more, ...(given.text ? { text: given.text } : { path: given.path.trim() }) });
      take(found);
      setTold({ done: true, remarks: found.remarks ?? [] });
    } catch (problem) {
      setTold({ wrong: problem.message, remarks: [] });
    }
  };
  const enter = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault(); // it would send the form around this
    void read();
  };
  const shared = { autocomplete: "off", autocapitalize: "off", spellcheck: false };
  return html`<details class="group from-file">
    <summary><span class="grow"><b>${t(`file.${kind}`)}</b><span class="quiet">${t(`file.${kind}.help`)}</span></span><${Icon} name="chevron" /></summary>
    <div class="fields">
      <div class="field"><label for=${id}>${t("file.path")}</label>
        <input id=${id} ...${shared} placeholder=${EXAMPLES[kind]} value=${given.path} onInput=${change("path")} onKeyDown=${enter} /></div>
      <div class="field"><label for=${`${id}-text`}>${t("file.text")}</label>
        <textarea id=${`${id}-text`} rows="3" ...${shared} value=${given.text} onInput=${change("text")}></textarea></div>
      <div class="actions">
        ${!hasBridge() && html`<label class="outlined-button">${t("file.choose")}<input class="hidden" type="file" onChange=${choose} /></label>`}
        <button type="button" class="tonal-button" disabled=${!given.path && !given.text} onClick=${read}>${t("file.read")}</button>
      </div>
      <div role="status">
        ${told.wrong && html`<p class="wrong">${told.wrong}</p>`}
        ${told.done && html`<p>${t("file.done")}</p>`}
        ${told.remarks.map((remark) => html`<p class="quiet">${remark}</p>`)}
      </div>
    </div>
  </details>`;
}
