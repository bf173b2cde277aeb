/** What the service told: one state, changed by frames of the `events` subscription in one pure function. */

import { known, t } from "./language.js";
import { computed, signal } from "./view.js";

const KEPT_OPERATIONS = 100;

/**
 * Containers by name, operations by id, and whether the first word has come.  A container may be called "constructor": what
 * is found by name inherits nothing.
 */
export const state = signal({ ready: false, containers: { __proto__: null }, operations: { __proto__: null } });

/** Summaries of all containers, in the order of their names. */
export const containers = computed(() =>
  Object.values(state.value.containers).sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true })),
);

/** Operations, the latest first. */
export const operations = computed(() =>
  Object.values(state.value.operations).sort((a, b) => b.started_at - a.started_at),
);

/** The last operation that looked for a newer version; undefined where there was none lately. */
export const lastLook = computed(() => operations.value.find((one) => one.kind === "updates"));

/** Pure: the state after `frame`, never the same object where something changed. */
export function reduce(before, frame) {
  switch (frame.kind) {
    case "state":
      return { ready: true, containers: by("name", frame.containers), operations: by("id", frame.operations) };
    case "operation":
      return { ...before, operations: latest({ ...before.operations, [frame.operation.id]: frame.operation }) };
    case "event":
      return { ...before, containers: afterEvent(before.containers, frame) };
    default:
      return before;
  }
}

/** Pure: the operation that is under way for container `name`, undefined where there is none. */
export function underWay(operationsById, name) {
  return Object.values(operationsById).find((one) => one.container === name && one.state === "running");
}

/** What an operation that is under way does now, in words. */
export function stepOf({ kind, container, step, sentence }) {
  if (step) return t(`step.${step}`);
  return known(`operation.${kind}`) ? t(`operation.${kind}`, { name: container }) : sentence;
}

/** Pure: whether a container in this `condition` has processes. */
export function isAlive(condition) {
  return ["starting", "running", "stuck", "unattended"].includes(condition);
}

function afterEvent(known, { event, name, container, detail }) {
  const after = { __proto__: null, ...known };
  if (event === "removed" || !container || container.name !== name) delete after[name];
  if (event === "renamed" && detail) delete after[detail];
  if (event !== "removed" && container) after[container.name] = container;
  return after;
}

/** The service forgets operations; so does a page that stays open for weeks. */
function latest(operations) {
  return by("id", Object.values(operations).slice(-KEPT_OPERATIONS));
}

function by(key, things) {
  return { __proto__: null, ...Object.fromEntries(things.map((thing) => [thing[key], thing])) };
}
