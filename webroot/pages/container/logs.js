/** What a container's console said: as it grows, and searched. */

import { fromBase64 } from "../../api/bytes.js";
import { subscribe } from "../../api/client.js";
import { t } from "../../language.js";
import { marked, readable, withText } from "../../log_text.js";
import { Icon } from "../../parts/icon.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "../../view.js";

const SHOWN = 1000; // lines in the page at once

export function Logs({ summary }) {
  const [lines, setLines] = useState([]);
  const [missed, setMissed] = useState(false);
  const [problem, setProblem] = useState("");
  const [sought, setSought] = useState("");
  const [following, setFollowing] = useState(true);
  const box = useRef(null);
  useEffect(() => {
    const decoder = new TextDecoder();
    return subscribe({ kind: "log", container: summary.name, cursor: "" }, (frame) => {
      if (frame.kind === "error") setProblem(frame.detail);
      if (frame.kind !== "log") return;
      if (frame.missed) setMissed(true);
      const text = decoder.decode(fromBase64(frame.data), { stream: true });
      setLines((before) => withText(before, text));
    });
  }, [summary.name]);
  const wanted = sought.toLowerCase();
  const found = lines.map(readable).filter((line, index) => (line || index < lines.length - 1) && line.toLowerCase().includes(wanted));
  useLayoutEffect(() => {
    if (following) box.current.scrollTop = box.current.scrollHeight;
  }, [following, found.length, lines.at(-1)]);
  const scrolled = () => {
    const { scrollTop, clientHeight, scrollHeight } = box.current;
    setFollowing(scrollHeight - scrollTop - clientHeight < 24);
  };
  return html`
    <div class="log-tools">
      <div class="search grow"><${Icon} name="search" />
        <input type="search" aria-label=${t("logs.search")} placeholder=${t("logs.search")} value=${sought} onInput=${(event) => setSought(event.target.value)} /></div>
      <button class="tonal-button" aria-pressed=${following} onClick=${() => setFollowing(!following)}><${Icon} name="down" />${t("logs.follow")}</button>
    </div>
    ${wanted && html`<p class="quiet" role="status">${t("logs.found", { count: found.length })}</p>`}
    ${problem && html`<div class="banner error" role="alert">${problem}</div>`}
    ${missed && html`<div class="banner warn">${t("logs.missed")}</div>`}
    <div class="log" role="log" tabindex="0" aria-label=${t("tab.logs")} ref=${box} onScroll=${scrolled}>
      ${found.length === 0 && html`<p class="quiet">${t(wanted ? "logs.none_found" : "logs.empty")}</p>`}
      ${found.slice(-SHOWN).map((line) => html`<div>${marked(line, wanted).map(([text, hit]) => (hit ? html`<mark>${text}</mark>` : text))}${"\n"}</div>`)}
    </div>
  `;
}
