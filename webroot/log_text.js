/** Log bytes as lines of plain text: pieces are joined, escape sequences and other control characters taken out. */

export const KEPT_LINES = 5000;
const KEPT_LETTERS = 100_000; // of one line: what draws its progress on it may never end it

// CSI, OSC (title and the like, ended by BEL or ST), and two-letter escapes.
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[ -/]*[0-~])/g;
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** Pure: `lines` with `text` behind them; the last line may still grow.  Only the last KEPT_LINES, and the end of each, stay. */
export function withText(lines, text) {
  const pieces = text.split("\n");
  const joined = [...lines.slice(0, -1), ((lines.at(-1) ?? "") + pieces[0]).slice(-KEPT_LETTERS), ...pieces.slice(1)];
  return joined.slice(-KEPT_LINES);
}

/** Pure: `line` as a person reads it. */
export function readable(line) {
  return line.replace(/\r+$/, "").replace(/^.*\r/, "").replace(ESCAPES, "").replace(CONTROLS, "");
}

/** Pure: `line` cut into [text, found] pairs where `sought` occurs, whatever its case. */
export function marked(line, sought) {
  if (!sought) return [[line, false]];
  const low = line.toLowerCase();
  const parts = [];
  let from = 0;
  for (let at = low.indexOf(sought); at >= 0; at = low.indexOf(sought, from)) {
    if (at > from) parts.push([line.slice(from, at), false]);
    from = at + sought.length;
    parts.push([line.slice(at, from), true]);
  }
  if (from < line.length) parts.push([line.slice(from), false]);
  return parts;
}
