/** How much containers and device use: the last samples, asked for only while a view shows them and the page is seen. */

import { signal } from "./view.js";
import { subscribe } from "./api/client.js";

export const SECONDS = 2;
export const KEPT = 60;

/**
 * The last sample of the device, with `cpu_percent` of all processors, and the last ones of each container, with `cpu` of
 * one processor; `at` is in seconds.  A container may be called "constructor": what is found by name inherits nothing.
 */
export const usage = signal({ host: null, containers: { __proto__: null } });

let lookers = 0;
let stop = null;

/** Ask for samples until the returned function is called. */
export function look() {
  lookers += 1;
  adjust();
  return () => {
    lookers -= 1;
    adjust();
  };
}

document.addEventListener("visibilitychange", adjust);

function adjust() {
  const wanted = lookers > 0 && !document.hidden;
  if (wanted && !stop) {
    stop = subscribe({ kind: "statistics", containers: [], seconds: SECONDS }, (frame) => {
      if (frame.kind === "statistics") usage.value = withSample(usage.value, frame);
    });
  } else if (!wanted && stop) {
    stop();
    stop = null;
  }
}

/** Pure: the history with one more sample; a container that is not in it has ended. */
export function withSample(before, { at, host, containers }) {
  const found = { __proto__: null };
  for (const [name, sample] of Object.entries(containers)) {
    const past = before.containers[name] ?? [];
    found[name] = [...past, { ...sample, at, ...rates(past.at(-1), sample, at) }].slice(-KEPT);
  }
  const earlier = before.host;
  const busy = earlier && at > earlier.at ? (host.cpu_time - earlier.cpu_time) / (at - earlier.at) : NaN;
  return {
    host: { ...host, at, cpu_percent: busy >= 0 ? Math.min(100, (busy / host.cpus) * 100) : null },
    containers: found,
  };
}

/** Per second, as far as an earlier sample of the same life tells: processors in percent, bytes of the network. */
function rates(earlier, sample, at) {
  const seconds = earlier ? at - earlier.at : 0;
  if (seconds <= 0 || sample.cpu_time < earlier.cpu_time) return { cpu: null, received: null, sent: null };
  const each = (now, then) => Math.max(0, (now - then) / seconds);
  const network = sample.network && earlier.network;
  return {
    cpu: each(sample.cpu_time, earlier.cpu_time) * 100,
    received: network ? each(sample.network.received, earlier.network.received) : null,
    sent: network ? each(sample.network.sent, earlier.network.sent) : null,
  };
}
