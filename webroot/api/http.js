/** The API by HTTP: from the service's own page, or from a manager's web view to 127.0.0.1. */

import { t } from "../language.js";
import { Lines } from "./bytes.js";
import { Problem, problemIn, Stranger } from "./problem.js";
import { isProved, newNonce } from "./proof.js";

const PATIENCE = 10_000; // ms for a proof

export class HttpDoor {
  #base;
  #key;
  #proved = null;

  /**
   * `base` is "" on the service's own page; `key` is `{id, token}`, null for none.  The token goes into Authorization and
   * nowhere else, and only to a service that has proved itself since the last time that anything failed.
   */
  constructor(base, key) {
    this.#base = base;
    this.#key = key;
  }

  /** The body of the answer, null where there is none.  Raises Problem. */
  async call(method, path, body) {
    const answer = await this.#send(method, path, body);
    const found = answer.status === 204 ? null : await answer.json().catch(() => undefined);
    if (!answer.ok) throw problemIn(answer.status, found);
    if (found === undefined) throw new Problem(0, t("connection.none")); // it was cut short
    return found;
  }

  /** Hand each frame of a new stream to `take` until it ends, which is when the promise is kept.  Raises Problem. */
  async stream(subscriptions, take, signal) {
    try {
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
    } finally {
      this.#proved = null; // the service may have gone with it
    }
  }

  /** Be sure that the service is the one that listens.  Raises Stranger, Problem. */
  async assure() {
    this.#proved ??= this.#prove();
    try {
      await this.#proved;
    } catch (problem) {
      this.#proved = null;
      throw problem;
    }
  }

  async #send(method, path, body, signal) {
    if (!this.#key) return this.#fetch(method, path, body, signal);
    await this.assure();
    try {
      return await this.#fetch(method, path, body, signal, { Authorization: `Bearer ${this.#key.token}` });
    } catch (error) {
      if (error.name !== "AbortError") this.#proved = null;
      throw error;
    }
  }

  /** Raises Stranger for one who is not the service, Problem for a service that does not know the token any more. */
  async #prove() {
    const { id, token } = this.#key;
    const nonce = newNonce();
    const answer = await this.#fetch("POST", "/proof", { id, nonce }, AbortSignal.timeout(PATIENCE));
    const found = await answer.json().catch(() => null);
    if (answer.status === 401) throw problemIn(401, found);
    const host = new URL(this.#base || location.origin).host;
    if (!answer.ok || !(await isProved(token, host, nonce, String(found?.proof)))) throw new Stranger(t("connection.stranger"));
  }

  async #fetch(method, path, body, signal, headers = {}) {
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const text = body === undefined ? undefined : JSON.stringify(body);
    const options = { method, headers, body: text, signal, credentials: "omit", cache: "no-store" };
    if (this.#base) options.targetAddressSpace = "loopback"; // what Chrome asks of a page that is not local itself
    try {
      return await fetch(`${this.#base}/api/v1${path}`, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, t("connection.none")); // what the browser says of it is in its own language
    }
  }
}
