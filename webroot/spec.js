/**
 * What can be asked for in a container, as the form shows it: one table, read by Create and by Configuration.
 *
 * `kind` says how a value is entered, `nets` with which networks it means anything; the words are `option.KEY` and
 * `option.KEY.help` in the catalogue.
 */

import { parseSize, printSize } from "./sizes.js";

const PORT = /^(?:\[([^\]]+)\]:|([\d.]+\.\d+):)?(\d+)(?:-(\d+))?(?::(\d+)(?:-\d+)?)?(?:\/(tcp|udp))?$/;
const PRIVILEGES = ["nomask", "nocaps", "noseccomp", "unfiltered-dev"];

export const GROUPS = [
  { id: "limits", options: [{ key: "memory", kind: "size", example: "1G" }, { key: "cpus", kind: "number", example: "2" }, { key: "pids_limit", kind: "number", example: "1000" }] },
  { id: "network", options: [{ key: "net", kind: "choice", choices: ["host", "nat", "lan", "gateway", "none"], usual: "host" }, { key: "ports", nets: ["nat"], kind: "ports", example: "8080:80" }, { key: "ip", nets: ["nat", "lan"], kind: "text", example: "172.28.0.10" }, { key: "upstream", nets: ["nat"], kind: "words", example: "wlan0" }, { key: "isolated", nets: ["nat"], kind: "switch" }, { key: "bridge", nets: ["nat"], kind: "switch" }, { key: "disable_ipv6", nets: ["nat"], kind: "switch" }, { key: "bandwidth_down", nets: ["nat"], kind: "size", example: "2M" }, { key: "bandwidth_up", nets: ["nat"], kind: "size", example: "500K" }, { key: "lan_iface", nets: ["lan"], kind: "text", example: "wlan0" }, { key: "gateway", nets: ["gateway"], kind: "text", example: "openwrt" }, { key: "gateway_net", nets: ["gateway"], kind: "text", example: "lan", usual: "lan" }, { key: "gateway_iface", nets: ["gateway"], kind: "text", example: "eth1", usual: "eth1" }, { key: "dns", kind: "words", example: "9.9.9.9" }, { key: "hostname", kind: "text", example: "debian" }] },
  { id: "storage", options: [{ key: "binds", kind: "binds", example: "/sdcard/Download:/mnt/download:ro" }, { key: "fsck", kind: "choice", choices: ["auto", "always", "never"], usual: "auto" }] },
  { id: "start", options: [{ key: "autostart", kind: "switch" }, { key: "start_after", kind: "words", example: "database" }, { key: "wakelock", kind: "choice", choices: ["never", "running", "charging"], usual: "never" }, { key: "init", kind: "text", example: "/sbin/init", usual: "/sbin/init" }, { key: "env", kind: "pairs", example: "LANG=C.UTF-8" }] },
  { id: "compatibility", options: [{ key: "block_nested_namespaces", kind: "switch" }, { key: "keyring_filter", kind: "switch" }, { key: "force_cgroupv1", kind: "switch" }, { key: "keep_groups", kind: "switch" }, { key: "oom_score_adj", kind: "number", example: "200" }] },
  { id: "security", options: [{ key: "cap_drop", kind: "words", example: "NET_RAW" }, { key: "cap_add", kind: "words", example: "SYS_TIME", danger: true }, { key: "hw_access", kind: "switch", danger: true }, { key: "privileged", kind: "set", choices: PRIVILEGES, danger: true }, { key: "hooks", kind: "hooks", example: "prestart=/data/adb/berth/prepare", danger: true }, { key: "selinux_permissive", kind: "switch", danger: true }] },
];

/** Pure: whether `option` means anything for `spec`; one that is set is not hidden. */
export function applies({ key, nets }, spec) {
  if (key === "fsck") return "image" in spec; // a directory has no file system of its own to check
  return !nets || nets.includes(spec.net ?? "host") || key in spec;
}

/** How the value of a kind stands in a text field, and how it is read back: undefined for "not given", NaN for no such value. */
export const NOTATION = {
  text: { print: (value) => value ?? "", read: (text) => text.trim() || undefined },
  number: { print: (value) => value ?? "", read: (text) => (text.trim() ? finite(Number(text)) : undefined) },
  size: { print: printSize, read: (text) => parseSize(text) ?? undefined },
  words: { print: (value = []) => value.join("\n"), read: (text) => some(text.split(/[\s,]+/).filter(Boolean)) },
  binds: {
    print: (value = []) => value.map((bind) => `${bind.source}:${bind.destination}${bind.read_only ? ":ro" : ""}`).join("\n"),
    read: (text) => {
      const binds = lines(text).map(readBind);
      return binds.includes(null) ? NaN : some(binds);
    },
  },
  pairs: {
    print: (value = {}) => Object.entries(value).map(([key, text]) => `${key}=${text}`).join("\n"),
    read: (text) => {
      const pairs = lines(text).map((line) => splitOnce(line, "="));
      return pairs.length ? Object.fromEntries(pairs) : undefined;
    },
  },
  ports: {
    print: (value = []) => value.map(printPort).join("\n"),
    read: (text) => some(lines(text).map(readPort)),
  },
  hooks: {
    print: (value = []) => value.map((hook) => `${hook.stage}=${hook.path}`).join("\n"),
    read: (text) =>
      some(
        lines(text).map((line) => {
          const [stage, path] = splitOnce(line, "=");
          return { stage, path };
        }),
      ),
  },
};

/** Pure: `spec` with `key` set, or left out where `value` is undefined or what it usually is. */
export function withOption(spec, key, value, usual) {
  const { [key]: _, ...rest } = spec;
  const left = value === undefined || value === usual || value === false || (Array.isArray(value) && !value.length);
  return left ? rest : { ...spec, [key]: value }; // in its place: what is changed and changed back is as it was
}

/** Pure: how many options of `group` differ from what they usually are. */
export function countSet(spec, group) {
  return group.options.filter(({ key, usual }) => key in spec && spec[key] !== usual).length;
}

/** Pure: the spec that `text` is as JSON.  Raises SyntaxError for no JSON, TypeError for what no form could show. */
export function readSpec(text) {
  const spec = JSON.parse(text);
  if (typeof spec !== "object" || spec === null || Array.isArray(spec)) throw new TypeError("a spec is an object");
  for (const { key, kind } of GROUPS.flatMap((group) => group.options)) NOTATION[kind]?.print(spec[key]);
  dangers(spec);
  return spec;
}

/** Pure: the keys of the sentences that say what can happen with `spec`; none for a container that is kept apart. */
export function dangers(spec) {
  return [
    ...(spec.privileged ?? []).map((privilege) => `danger.${privilege}`),
    spec.hw_access && "danger.hw_access",
    spec.cap_add?.length > 0 && "danger.cap_add",
    spec.selinux_permissive && "danger.selinux_permissive",
    spec.hooks?.length > 0 && "danger.hooks",
    (spec.binds ?? []).some((bind) => !bind.read_only && isSystem(bind.source)) && "danger.binds",
  ].filter(Boolean);
}

/** Whether `path`, however it is written, leads into the device's own system, or to what Android keeps of all apps. */
function isSystem(path) {
  const parts = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part && part !== ".") parts.push(part);
  }
  const [first, second] = parts;
  if (first === "data") return !second || /^(adb|app|data|misc|system|user|vendor)(_\w+)?$/.test(second);
  return !first || /^(apex|dev|etc|metadata|odm|persist|proc|product|sys|system|system_ext|usr|vendor)$/.test(first);
}

/** As the command line reads it: SRC:DST, SRC:DST:ro or SRC:DST:rw; null for anything else, or :RO would mean :rw. */
function readBind(line) {
  const [, source, destination, mode] = line.match(/^([^:]+):([^:]+)(?::(ro|rw))?$/) ?? [];
  if (!source) return null;
  return mode === "ro" ? { source, destination, read_only: true } : { source, destination };
}

function printPort({ host, container, count = 1, protocol = "tcp", bind }) {
  const range = (first) => (count > 1 ? `${first}-${first + count - 1}` : `${first}`);
  const where = bind ? `${bind.includes(":") ? `[${bind}]` : bind}:` : "";
  return `${where}${range(host)}:${range(container)}${protocol === "tcp" ? "" : `/${protocol}`}`;
}

/** As the command line reads it: [ADDRESS:]PHONE[:INSIDE][/udp], each a port or a range; the API judges the numbers. */
function readPort(line) {
  const [, v6, v4, host, last, inside = host, protocol] = line.match(PORT) ?? [];
  const port = { host: Number(host), container: Number(inside) };
  const bind = v6 ?? v4;
  return { ...port, ...(last && { count: last - host + 1 }), ...(protocol && { protocol }), ...(bind && { bind }) };
}

function splitOnce(line, mark) {
  const index = line.indexOf(mark);
  return index < 0 ? [line, ""] : [line.slice(0, index), line.slice(index + 1)];
}

function lines(text) {
  return text.split("\n").map((line) => line.trim()).filter(Boolean);
}

/** JSON has no infinity: it would be sent as null, and that is no limit. */
function finite(value) {
  return Number.isFinite(value) ? value : NaN;
}

function some(values) {
  return values.length ? values : undefined;
}
