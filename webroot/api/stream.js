/**
 * The page's one stream: everything that comes by itself comes through it.
 *
 * A subscription lives until it is given back, however often the connection is lost: each remembers where it is
 * (`cursor`, `position`) and asks for what follows when the stream is opened again.  Without `events`, which end with the
 * service, nothing else is told for long either: the stream ends with them, and they are asked for again with the next.
 */

import { Problem, Stranger } from "./problem.js";

const LONGEST_PAUSE = 15_000; // ms between attempts to reconnect
const SHORTEST_PAUSE = 500;
const STEADY = 5_000; // ms after which a stream that ended counts as the first that did

export class Stream {
  #door;
  #onState;
  #subscriptions = new Map();
  #id = null;
  #changes = Promise.resolve();
  #abort = null;
  #complaint = null;
  #wake = null;
  #counter = 0;

  /**
   * `onState` hears "open", "lost" or "stranger" (it will be tried again) and "refused" (the token is of no use), and what
   * the service said of it, "" for nothing.
   */
  constructor(door, onState) {
    this.#door = door;
    this.#onState = onState;
    addEventListener("online", () => this.#wake?.());
    document.addEventListener("visibilitychange", () => document.hidden || this.#wake?.());
  }

  /** Subscribe to what `request` (a subscription without id) names; each frame goes to `take`.  Returns how to stop. */
  subscribe(request, take) {
    const id = `s${++this.#counter}`;
    const subscription = { id, ...request };
    this.#subscriptions.set(id, { subscription, take });
    this.#change({ add: [subscription], drop: [] });
    return () => {
      if (this.#subscriptions.delete(id)) this.#change({ add: [], drop: [id] });
    };
  }

  /** Keep the stream open until the token is refused. */
  async run() {
    for (let pause = SHORTEST_PAUSE; ; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
      const began = Date.now();
      const problem = await this.#once();
      if (problem.status === 401) return this.#onState("refused", problem.message);
      this.#onState(problem instanceof Stranger ? "stranger" : "lost", problem.status === 0 ? "" : problem.message);
      if (Date.now() - began > STEADY) pause = SHORTEST_PAUSE;
      await this.#sleep(pause);
    }
  }

  /** Why the stream could not be opened, or has ended. */
  async #once() {
    this.#abort = new AbortController();
    this.#complaint = null;
    const wanted = [...this.#subscriptions.values()].map((entry) => entry.subscription);
    const asked = new Set(wanted.map((subscription) => subscription.id));
    try {
      await this.#door.stream(wanted, (frame) => this.#take(frame, asked), this.#abort.signal);
      return this.#complaint ?? new Problem(0, "");
    } catch (error) {
      return error instanceof Problem ? error : new Problem(0, "");
    } finally {
      this.#id = null;
      this.#abort.abort(); // what failed on our side would be read on
    }
  }

  #take(frame, asked) {
    if (frame.kind === "hello") return this.#opened(frame.stream, asked);
    const entry = this.#subscriptions.get(frame.sub);
    if (!entry) return;
    if ("cursor" in frame) entry.subscription.cursor = frame.cursor;
    if ("position" in frame) entry.subscription.position = frame.position;
    if (frame.kind === "error" && entry.subscription.kind === "events") {
      this.#complaint = new Problem(503, frame.detail);
      return;
    }
    if (frame.kind === "end" || frame.kind === "error") this.#subscriptions.delete(frame.sub);
    entry.take(frame);
  }

  /** Make up for what was subscribed and given back while the stream was being opened. */
  #opened(id, asked) {
    this.#id = id;
    const entries = [...this.#subscriptions.values()].map((entry) => entry.subscription);
    const add = entries.filter((subscription) => !asked.has(subscription.id));
    const drop = [...asked].filter((known) => !this.#subscriptions.has(known));
    if (add.length || drop.length) this.#change({ add, drop });
    this.#onState("open", "");
  }

  /** Send a change behind those before it; one that can't be made ends the stream, and the next has it from the start. */
  #change(change) {
    const id = this.#id;
    if (id === null) return;
    this.#changes = this.#changes.then(async () => {
      if (this.#id !== id) return;
      try {
        await this.#door.call("POST", `/streams/${id}/subscriptions`, change);
      } catch {
        if (this.#id === id) this.#abort.abort();
      }
    });
  }

  /** Wait for `milliseconds`; where nobody sees the page, until somebody does. */
  #sleep(milliseconds) {
    return new Promise((keep) => {
      const timer = document.hidden ? 0 : setTimeout(keep, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        keep();
      };
    });
  }
}
