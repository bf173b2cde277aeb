/** The API by HTTP: from the service's own page, or from a manager's web view to 127.0.0.1. */

import { Lines } from "./bytes.js";
import { Problem, problemIn } from "./problem.js";

export class HttpDoor {
  #base;
  #token;

  /** `base` is "" on the service's own page; `token` goes into Authorization and nowhere else. */
  constructor(base, token) {
    this.#base = base;
    this.#token = token;
  }

  /** The body of the answer, null where there is none.  Raises Problem. */
  async call(method, path, body, { signal } = {}) {
    const answer = await this.#send(method, path, body, signal);
    const found = answer.status === 204 ? null : await answer.json().catch(() => null);
    if (!answer.ok) throw problemIn(answer.status, found);
    return found;
  }

  /** Hand each frame of a new stream to `take` until it ends, which is when the promise is kept.  Raises Problem. */
  async stream(subscriptions, take, signal) {
    const answer = await this.#send("POST", "/streams", { subscriptions }, signal);
    if (!answer.ok) throw problemIn(answer.status, await answer.json().catch(() => null));
    const lines = new Lines((line) => take(JSON.parse(line)));
    const decoder = new TextDecoder();
    const reader = answer.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      lines.add(decoder.decode(value, { stream: true }));
    }
  }

  async #send(method, path, body, signal) {
    const headers = this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const text = body === undefined ? undefined : JSON.stringify(body);
    const options = { method, headers, body: text, signal, credentials: "omit", cache: "no-store" };
    if (this.#base) options.targetAddressSpace = "loopback"; // what Chrome asks of a page that is not local itself
    try {
      return await fetch(`${this.#base}/api/v1${path}`, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, String(error.message));
    }
  }
}
