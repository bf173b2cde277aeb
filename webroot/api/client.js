/** The API for the views: calls, subscriptions, and whether there is a connection. */

import { signal } from "../view.js";
import { Problem } from "./problem.js";
import { Stream } from "./stream.js";
import { findDoor, forget } from "./way_in.js";

/**
 * "connecting", "open", "lost" (being tried again), "stranger" (so is this: another program has the service's port) or
 * "locked" (the page has no right to come in).
 */
export const connection = signal("connecting");
/** What was said of why there is no connection, "" for nothing. */
export const reason = signal("");

let door = null;
let stream = null;

/** Find a way in and open the stream; `take` gets the frames of its events. */
export async function connect(take) {
  try {
    door = await findDoor();
  } catch (problem) {
    reason.value = problem.message;
  }
  if (!door) {
    connection.value = "locked";
    return;
  }
  stream = new Stream(door, (state, why) => {
    if (state === "refused") return lock();
    reason.value = why;
    connection.value = state;
  });
  stream.subscribe({ kind: "events" }, take);
  void stream.run();
}

/** The body of the answer to `method` on `path` (behind /api/v1).  Raises Problem. */
export async function call(method, path, body) {
  if (!door) throw new Problem(401, "");
  try {
    return await door.call(method, path, body);
  } catch (problem) {
    if (problem.status === 401) lock();
    throw problem;
  }
}

/** Be sure that files of the page come from the service, before more of them are loaded and run.  Raises Problem. */
export async function assure() {
  await door?.assure();
}

/** Take each frame of a subscription (see Stream.subscribe); returns how to stop. */
export function subscribe(request, take) {
  return stream ? stream.subscribe(request, take) : () => {};
}

/** The path of a container, of what lies below it where `rest` says so. */
export function containerPath(name, ...rest) {
  return ["/containers", encodeURIComponent(name), ...rest].join("/");
}

function lock() {
  forget();
  reason.value = "";
  door = null;
  connection.value = "locked";
}
