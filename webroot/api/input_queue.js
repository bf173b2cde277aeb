/**
 * What is typed into a terminal on its way to the service: one request in flight, what is typed meanwhile goes together
 * in the next, and each has a number so that one sent twice over a bad connection is taken once.
 */

import { toBase64 } from "./bytes.js";

const NOT_NOW = [0, 429, 503]; // a service that is away or busy, a program that takes no input
const RETRY = 300; // ms, twice as long after each attempt
const LONGEST_RETRY = 2400;
const LARGEST = 16_384; // bytes in one request

export class InputQueue {
  #post;
  #fail;
  #waiting = [];
  #number = 0;
  #busy = false;
  #left = false;
  #writer = crypto.randomUUID();

  /** `post` sends a body and raises Problem; `fail` hears of one that will not go away. */
  constructor(post, fail) {
    this.#post = post;
    this.#fail = fail;
  }

  /** Send `bytes` behind all that was sent before. */
  send(bytes) {
    for (const byte of bytes) this.#waiting.push(byte); // a pasted file has more than a call may have arguments
    if (!this.#busy) void this.#drain();
  }

  /** Nobody looks any more: what does not arrive at the first attempt is forgotten, or another program might get it. */
  leave() {
    this.#left = true;
  }

  async #drain() {
    this.#busy = true;
    while (this.#waiting.length) {
      const data = toBase64(this.#waiting.splice(0, LARGEST));
      if (!(await this.#deliver({ writer: this.#writer, number: ++this.#number, data }))) this.#waiting = [];
    }
    this.#busy = false;
  }

  /** Whether it arrived; the same number again until the service has it or says that it never will. */
  async #deliver(body) {
    for (let pause = RETRY; ; pause = Math.min(pause * 2, LONGEST_RETRY)) {
      try {
        await this.#post(body);
        return true;
      } catch (problem) {
        if (this.#left) return false;
        if (!NOT_NOW.includes(problem.status)) {
          this.#fail(problem);
          return false;
        }
      }
      await new Promise((keep) => setTimeout(keep, pause));
    }
  }
}
