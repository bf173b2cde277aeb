/** Bytes as the API carries them in JSON. */

/** The bytes in `base64`. */
export function fromBase64(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

/** `bytes` in base64. */
export function toBase64(bytes) {
  let letters = "";
  for (const byte of bytes) letters += String.fromCharCode(byte);
  return btoa(letters);
}

/** `text` as UTF-8 in base64. */
export function textToBase64(text) {
  return toBase64(new TextEncoder().encode(text));
}

/** Splits what comes in pieces into whole lines, each handed to `take`. */
export class Lines {
  #rest = "";
  #take;

  constructor(take) {
    this.#take = take;
  }

  add(text) {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop();
    for (const line of lines) if (line) this.#take(line);
  }
}
