/**
 * The API over the root manager's bridge: `berth api` by `ksu.exec` and `ksu.spawn`.
 *
 * The bridge quotes nothing, so everything that is not a word of ours goes as base64 or percent-encoded.
 */

import { Lines, textToBase64 } from "./bytes.js";
import { Problem, problemIn } from "./problem.js";

const COMMAND = "PATH=$PATH:/data/adb/modules/berth/bin berth api";
let made = 0;

export class BridgeDoor {
  /** As HttpDoor.call. */
  async call(method, path, body) {
    const words = [method, `/api/v1${path}`];
    if (body !== undefined) words.push(textToBase64(JSON.stringify(body)));
    const { code, output, complaint } = await execute(`${COMMAND} ${words.map(quoted).join(" ")}`);
    const answer = parsed(output);
    if (code !== 0 || !answer) throw new Problem(0, complaint.trim() || `berth api: exit code ${code}`);
    if (answer.status >= 400) throw problemIn(answer.status, answer.body);
    return answer.body;
  }

  /** As HttpDoor.assure; nobody can stand in for a program's path. */
  async assure() {}

  /** As HttpDoor.stream; the bridge can't end a program, so an abandoned one ends at its next line. */
  stream(subscriptions, take, signal) {
    const body = textToBase64(JSON.stringify({ subscriptions }));
    return new Promise((keep, fail) => {
      const lines = new Lines((line) => {
        const frame = parsed(line);
        if (frame && !signal.aborted) take(frame);
      });
      const complaints = [];
      const child = {
        stdout: { emit: (_, line) => lines.add(`${String(line).replace(/\n$/, "")}\n`) },
        stderr: { emit: (_, line) => complaints.push(String(line)) },
        emit: (event, detail) => {
          delete globalThis[name];
          if (event === "exit" && detail === 0) keep();
          else fail(new Problem(0, complaints.join(" ") || String(detail?.message ?? detail)));
        },
      };
      signal.addEventListener("abort", () => fail(new DOMException("aborted", "AbortError")));
      const name = named(child);
      globalThis.ksu.spawn(`${COMMAND} --stream ${quoted(body)}`, "[]", "{}", name);
    });
  }
}

function execute(command) {
  return new Promise((keep) => {
    const name = named((code, output, complaint) => {
      delete globalThis[name];
      keep({ code, output: output ?? "", complaint: complaint ?? "" });
    });
    globalThis.ksu.exec(command, "{}", name);
  });
}

/** A global name for `thing`, which is how the bridge calls back. */
function named(thing) {
  const name = `berth_${++made}`;
  globalThis[name] = thing;
  return name;
}

/** `word` for the shell; it never holds a quote, being base64 or percent-encoded. */
function quoted(word) {
  return `'${word.replaceAll("'", "%27")}'`;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
