/** A request that failed: `message` is the one sentence to show, `status` the HTTP status (0: no answer at all). */
export class Problem extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** What listens could not prove to be the service; nothing secret has been sent to it. */
export class Stranger extends Problem {
  constructor(sentence) {
    super(0, sentence);
  }
}

/** Pure: the Problem in the body of an answer, an RFC 9457 document where the service wrote it. */
export function problemIn(status, body) {
  return new Problem(status, body?.detail || body?.title || `HTTP ${status}`);
}
