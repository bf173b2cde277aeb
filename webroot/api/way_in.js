/** How the page comes to a door: by the manager's bridge, a ticket in the fragment, or the token of this tab. */

import { HttpDoor } from "./http.js";

const KEPT = "berth.token";
const PATIENCE = 2000; // ms for 127.0.0.1 to answer a manager's web view; Android 17 may refuse it

/** Whether this page is shown by a root manager. */
export function hasBridge() {
  return typeof globalThis.ksu?.exec === "function";
}

/** The door to use, null where the page has no right to any.  Raises Problem where a ticket is refused. */
export async function findDoor() {
  if (hasBridge()) return doorOfManager();
  const ticket = takeTicket();
  if (ticket) keep(await new HttpDoor("", null).call("POST", "/pair", { ticket }));
  const [id, token] = (sessionStorage.getItem(KEPT) ?? "").split(" ");
  return token ? new HttpDoor("", { id, token }) : null;
}

/** Forget the token, which is of no use any more. */
export function forget() {
  sessionStorage.removeItem(KEPT);
}

function keep({ id, token }) {
  sessionStorage.setItem(KEPT, `${id} ${token}`);
}

/** The ticket in the address, which is taken out of the address and of the history at once. */
function takeTicket() {
  const found = /^#ticket=([\w-]+)$/.exec(location.hash);
  if (!found) return null;
  history.replaceState(null, "", location.pathname);
  return found[1];
}

/** 127.0.0.1 where the web view lets us reach it, else the bridge.  The token stays in memory: modules share an origin. */
async function doorOfManager() {
  const { BridgeDoor } = await import("./bridge.js");
  const bridge = new BridgeDoor();
  const { port } = await bridge.call("GET", "/service");
  if (!port) return bridge;
  const key = await bridge.call("POST", "/tokens", { name: "manager", page: true }).catch(() => null); // a full disk
  if (!key) return bridge;
  const door = new HttpDoor(`http://127.0.0.1:${port}`, key);
  const late = new Promise((keep) => setTimeout(keep, PATIENCE, bridge));
  return Promise.race([door.call("GET", "/service").then(() => door, () => bridge), late]);
}
