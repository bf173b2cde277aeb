/**
 * Whether what listens is the service that gave this page its token, asked before the token goes out: a port that a dead
 * service has left can be anybody's.
 */

const ENCODER = new TextEncoder();

/** Random bytes for one question, in hexadecimal. */
export function newNonce() {
  return Array.from(crypto.getRandomValues(new Uint8Array(32)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Whether `proof` (hexadecimal) answers `nonce`, asked of `host`, as only who knows `token` or its hash can. */
export async function isProved(token, host, nonce, proof) {
  if (!/^[0-9a-f]{64}$/.test(proof)) return false;
  const hash = await crypto.subtle.digest("SHA-256", ENCODER.encode(token));
  const key = await crypto.subtle.importKey("raw", hash, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
  const bytes = Uint8Array.from(proof.match(/../g), (pair) => parseInt(pair, 16));
  return crypto.subtle.verify("HMAC", key, bytes, ENCODER.encode(`berth ${host} ${nonce}`));
}
