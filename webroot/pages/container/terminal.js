/** Shells inside a container: several, of any user, each held by the service until it ends. */

import { attempt } from "../../actions.js";
import { call } from "../../api/client.js";
import { InputQueue } from "../../api/input_queue.js";
import { t } from "../../language.js";
import { Icon } from "../../parts/icon.js";
import { Inside } from "../../parts/inside.js";
import { Waiting } from "../../parts/loading.js";
import { notify } from "../../parts/notice.js";
import { Screen } from "../../parts/screen.js";
import { html, useEffect, useId, useMemo, useRef, useState } from "../../view.js";

export function Terminals({ summary }) {
  return html`<${Inside} summary=${summary}><${OfContainer} name=${summary.name} /><//>`;
}

function OfContainer({ name }) {
  const [all, setAll] = useState(null);
  const [shown, setShown] = useState(null);
  const add = async (user) => {
    const made = await attempt("POST", "/terminals", { container: name, user, rows: 24, columns: 80, argv: [] });
    setAll((before) => [...(before ?? []), ...(made ? [made] : [])]);
    if (made) setShown(made.id);
  };
  useEffect(() => {
    let wanted = true;
    call("GET", "/terminals").then(
      ({ terminals }) => {
        if (!wanted) return;
        const own = terminals.filter((one) => one.container === name && one.ended === null);
        if (own.length) setAll(own);
        else void add("root"); // who comes here wants a shell
      },
      (problem) => {
        setAll([]);
        notify(problem.message, "error");
      },
    );
    return () => {
      wanted = false;
    };
  }, [name]);
  if (!all) return html`<${Waiting} />`;
  const forget = (id) => setAll((before) => before.filter((one) => one.id !== id));
  const current = all.find((one) => one.id === shown) ?? all.at(-1);
  return html`<div class="terminals">
    <${Sessions} all=${all} shown=${current?.id} choose=${setShown} close=${(id) => close(id).then(() => forget(id))} add=${add} />
    ${current ? html`<${Session} key=${current.id} terminal=${current} closed=${() => forget(current.id)} />` : html`<p class="quiet">${t("terminal.none")}</p>`}
  </div>`;
}

function close(id) {
  return attempt("DELETE", `/terminals/${encodeURIComponent(id)}`);
}

function Sessions({ all, shown, choose, close: end, add }) {
  const id = useId();
  const [user, setUser] = useState("root");
  const submit = (event) => {
    event.preventDefault();
    void add(user.trim() || "root");
  };
  return html`<div class="sessions">
    ${all.map(
      (one, index) =>
        html`<span class="session" key=${one.id}>
          <button aria-pressed=${one.id === shown} onClick=${() => choose(one.id)}>${index + 1} · ${one.user}</button>
          <button class="icon-button" aria-label=${t("terminal.close", { number: index + 1 })} onClick=${() => end(one.id)}><${Icon} name="close" size=${20} /></button>
        </span>`,
    )}
    <form class="inline" onSubmit=${submit}>
      <label for=${id} class="hidden">${t("terminal.user")}</label>
      <input id=${id} class="user" value=${user} autocomplete="off" autocapitalize="off" spellcheck=${false} onInput=${(event) => setUser(event.target.value)} />
      <button class="tonal-button add" aria-label=${t("terminal.new_named")}><${Icon} name="add" /><span>${t("terminal.new")}</span></button>
    </form>
  </div>`;
}

function Session({ terminal, closed }) {
  const path = `/terminals/${encodeURIComponent(terminal.id)}`;
  const queue = useMemo(
    () => new InputQueue((body) => call("POST", `${path}/input`, body), (problem) => notify(problem.message, "error")),
    [terminal.id],
  );
  const sized = useRef(Promise.resolve());
  const resize = (rows, columns) => {
    // One after the other, or of two at once the one that holds no more may come last.
    sized.current = sized.current.then(() => call("POST", `${path}/size`, { rows, columns })).catch(() => {});
  };
  useEffect(() => () => queue.leave(), [queue]);
  const ended = (frame) => {
    notify(frame.detail ?? t("terminal.ended", { code: frame.code ?? 0 }), frame.detail ? "error" : "info");
    closed();
  };
  return html`<${Screen} label=${t("terminal.label", { user: terminal.user, name: terminal.container })}
    request=${{ kind: "terminal", terminal: terminal.id, position: 0 }}
    send=${(bytes) => queue.send(bytes)}
    resize=${resize}
    ended=${ended} />`;
}
