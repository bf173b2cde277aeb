/** Keys that a phone's keyboard lacks, as the bytes that a terminal sends for them. */

/** The row of keys: what is on them, how a screen reader calls them, and what they send. */
export const KEYS = [
  { label: "Esc", send: "\u001b" },
  { label: "Tab", send: "\t" },
  { label: "Ctrl", holds: "ctrl" },
  { label: "Alt", holds: "alt" },
  { label: "←", name: "key.left", cursor: "D" },
  { label: "↓", name: "key.down", cursor: "B" },
  { label: "↑", name: "key.up", cursor: "A" },
  { label: "→", name: "key.right", cursor: "C" },
  { label: "Home", cursor: "H" },
  { label: "End", cursor: "F" },
  { label: "PgUp", send: "\u001b[5~" },
  { label: "PgDn", send: "\u001b[6~" },
  { label: "|", name: "key.pipe", send: "|" },
  { label: "/", name: "key.slash", send: "/" },
  { label: "-", name: "key.dash", send: "-" },
  { label: "~", name: "key.tilde", send: "~" },
];

/** Pure: what `key` sends while `held` ({ctrl, alt}) are held; `application` is the program's cursor key mode. */
export function bytesOf(key, held, application) {
  if (!key.cursor) return withHeld(key.send, held);
  if (!held.ctrl && !held.alt) return `\u001b${application ? "O" : "["}${key.cursor}`;
  return `\u001b[1;${1 + (held.alt ? 2 : 0) + (held.ctrl ? 4 : 0)}${key.cursor}`;
}

/** Pure: typed `text` while `held` are held: Ctrl makes a letter a control character, Alt puts Escape before it. */
export function withHeld(text, held) {
  let sent = text;
  if (held.ctrl && /^[@-_a-z ]$/.test(text)) sent = String.fromCharCode(text.toUpperCase().charCodeAt(0) & 31);
  return held.alt ? `\u001b${sent}` : sent;
}
