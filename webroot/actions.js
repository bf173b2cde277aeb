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

/** Begin the operation that POST `path` asks for; it shows at once, where the stream has not told more of it already. */
export async function beginAt(path, body = {}) {
  const operation = await attempt("POST", path, body);
  if (operation && !state.value.operations[operation.id]) state.value = reduce(state.value, { kind: "operation", operation });
  return operation;
}

/** Have an operation taken back; the stream tells when it is. */
export function cancel(operation) {
  return attempt("POST", `/operations/${encodeURIComponent(operation.id)}/cancel`, {});
}
