/** What a press of a button asks of the service; what fails is told by a notice. */

import { call, containerPath } from "./api/client.js";
import { state, reduce } from "./state.js";
import { notify } from "./parts/notice.js";

/** Call and return the answer; undefined where it failed, which the user has been told. */
export async function attempt(method, path, body) {
  try {
    return await call(method, path, body);
  } catch (problem) {
    if (problem.status !== 401) notify(problem.message, "error");
    return undefined;
  }
}

/** Begin an operation ("start", "stop", "restart") on container `name`. */
export function begin(name, verb, body) {
  return beginAt(containerPath(name, verb), body);
}

/** Begin the operation that POST `path` asks for; it shows at once, before its first event. */
export async function beginAt(path, body = {}) {
  const operation = await attempt("POST", path, body);
  if (operation) show(operation);
  return operation;
}

export async function cancel(operation) {
  const changed = await attempt("POST", `/operations/${encodeURIComponent(operation.id)}/cancel`, {});
  if (changed) show(changed);
}

/** An operation that the stream has told more of already is not taken back to how it began. */
function show(operation) {
  const known = state.value.operations[operation.id];
  if (!known || known.state === "running") state.value = reduce(state.value, { kind: "operation", operation });
}
