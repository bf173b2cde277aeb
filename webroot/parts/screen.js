/** A terminal's screen by xterm, which is loaded with the first one, and the keys that a phone lacks. */

import { fromBase64 } from "../api/bytes.js";
import { assure, subscribe } from "../api/client.js";
import { t } from "../language.js";
import { remember, remembered } from "../preferences.js";
import { bytesOf, KEYS, withHeld } from "../touch_keys.js";
import { html, useEffect, useRef, useState } from "../view.js";
import { Icon } from "./icon.js";
import { Waiting } from "./loading.js";
import { notify } from "./notice.js";
import { loadStyle } from "./style_sheet.js";

const SIZES = { least: 8, usual: 14, most: 28 }; // pixels
const COLOURS = { background: "#0b1012", foreground: "#e2e7ea", cursor: "#83d3e6", selectionBackground: "#3f6b78" };
const NONE = { ctrl: false, alt: false };

/**
 * `request` is the subscription that brings the output; `send` takes bytes, `resize` rows and columns, `ended` the last
 * frame.  A screen is made anew for another request: give it a key.
 */
export function Screen({ label, request, send, resize, ended }) {
  const box = useRef(null);
  const screen = useRef(null);
  const holding = useRef(NONE);
  const [held, setHeld] = useState(NONE);
  const [problem, setProblem] = useState(null);
  const [ready, setReady] = useState(false);
  const hold = (keys) => {
    holding.current = keys;
    setHeld(keys);
  };
  useEffect(() => {
    let wanted = true;
    let close = () => {};
    open(box.current, label, resize).then(
      (opened) => {
        if (!wanted) return opened.close();
        screen.current = opened;
        const typed = opened.terminal.onData((text) => {
          send(new TextEncoder().encode(withHeld(text, holding.current)));
          if (holding.current !== NONE) hold(NONE);
        });
        const raw = opened.terminal.onBinary((text) => send(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
        const stop = subscribe(request, (frame) => show(opened.terminal, frame, ended));
        close = () => [stop, () => typed.dispose(), () => raw.dispose(), opened.close].forEach((end) => end());
        setReady(true);
      },
      (error) => setProblem(error),
    );
    return () => {
      wanted = false;
      close();
    };
  }, []);
  return html`<div class="terminal">
    ${!ready && html`<${Waiting} problem=${problem} />`}
    <div class="screen-box" ref=${box}></div>
    ${ready && html`<${Keys} ...${screen.current} held=${held} hold=${hold} send=${send} />`}
  </div>`;
}

/** Load xterm and open it in `box`, as large as that is. */
async function open(box, label, resize) {
  await assure();
  const [{ Terminal }, { FitAddon }] = await Promise.all([
    import("../vendor/xterm.js"),
    import("../vendor/xterm-fit.js"),
    loadStyle("vendor/xterm.css"),
  ]);
  const terminal = new Terminal({
    fontSize: Number(remembered("font")) || SIZES.usual,
    fontFamily: "ui-monospace, 'Roboto Mono', 'DejaVu Sans Mono', monospace",
    theme: COLOURS,
    cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
    scrollback: 5000,
    macOptionIsMeta: true,
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(box);
  terminal.textarea.setAttribute("aria-label", `${label}. ${t("terminal.leave")}`);
  terminal.attachCustomKeyEventHandler((event) => {
    if (event.key !== "Escape" || !event.shiftKey) return true;
    event.preventDefault();
    if (event.type === "keydown") box.parentElement.querySelector(".keys button")?.focus(); // Tab is the program's
    return false;
  });
  let told = "";
  const adapt = () => {
    fit.fit();
    const size = `${terminal.rows}x${terminal.cols}`;
    if (size !== told) resize(terminal.rows, terminal.cols);
    told = size;
  };
  const observer = new ResizeObserver(adapt);
  observer.observe(box);
  adapt();
  if (!document.querySelector("[role=tab]:focus-visible")) terminal.focus(); // who walks along the tabs is not led away
  return {
    terminal,
    adapt,
    close: () => {
      observer.disconnect();
      terminal.dispose();
    },
  };
}

function show(terminal, frame, ended) {
  if (frame.kind === "output") {
    const bytes = fromBase64(frame.data);
    if (frame.position === bytes.length) terminal.reset(); // from the start: a console tells it all again to a new stream
    if (frame.missed) terminal.write(`\r\n\u001b[2m[${t("terminal.missed", { count: frame.missed })}]\u001b[0m\r\n`);
    terminal.write(bytes);
  } else {
    ended(frame);
  }
}

function Keys({ terminal, adapt, held, hold, send }) {
  const press = (key) => {
    if (key.holds) return hold({ ...held, [key.holds]: !held[key.holds] });
    send(new TextEncoder().encode(bytesOf(key, held, terminal.modes.applicationCursorKeysMode)));
    if (held !== NONE) hold(NONE);
  };
  const enlarge = (step) => {
    terminal.options.fontSize = Math.min(SIZES.most, Math.max(SIZES.least, terminal.options.fontSize + step));
    remember("font", String(terminal.options.fontSize));
    adapt();
  };
  const copy = () =>
    navigator.clipboard.writeText(terminal.getSelection() || shownText(terminal)).then(
      () => notify(t("copied")),
      () => notify(t("terminal.no_clipboard"), "error"),
    );
  const paste = () =>
    navigator.clipboard.readText().then(
      (text) => terminal.paste(text),
      () => notify(t("terminal.no_clipboard"), "error"),
    );
  const keep = (event) => event.preventDefault(); // the keyboard stays open, and what is selected selected
  return html`<div class="keys" role="toolbar" aria-label=${t("terminal.keys")} onPointerDown=${keep} onMouseDown=${keep}>
    ${KEYS.map(
      (key) =>
        html`<button key=${key.label} aria-label=${key.name && t(key.name)} aria-pressed=${key.holds ? held[key.holds] : undefined} onClick=${() => press(key)}>${key.label}</button>`,
    )}
    <button aria-label=${t("copy")} onClick=${copy}><${Icon} name="copy" size=${20} /></button>
    <button aria-label=${t("paste")} onClick=${paste}><${Icon} name="paste" size=${20} /></button>
    <button aria-label=${t("terminal.smaller")} onClick=${() => enlarge(-1)}><${Icon} name="smaller" size=${20} /></button>
    <button aria-label=${t("terminal.larger")} onClick=${() => enlarge(1)}><${Icon} name="larger" size=${20} /></button>
    <span class="quiet leave">${t("terminal.leave")}</span>
  </div>`;
}

/** What is on the screen, for a phone, where a finger scrolls and can't select. */
function shownText(terminal) {
  const { active } = terminal.buffer;
  const lines = Array.from({ length: terminal.rows }, (_, row) => active.getLine(active.viewportY + row)?.translateToString(true) ?? "");
  return lines.join("\n").trimEnd();
}
