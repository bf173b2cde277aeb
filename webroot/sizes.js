/** Sizes as people type them. */

/**
 * Pure: bytes for "512M", "1.5G" or a plain number, as the command line reads them; null for nothing, NaN for neither, and
 * for more than JSON can carry exactly.
 */
export function parseSize(text) {
  const found = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*$/i.exec(text);
  if (!text.trim()) return null;
  const bytes = found ? Math.round(found[1] * 1024 ** " kmgt".indexOf(found[2].toLowerCase() || " ")) : NaN;
  return Number.isSafeInteger(bytes) ? bytes : NaN;
}

/** Pure: `bytes` as parseSize reads it back without loss. */
export function printSize(bytes) {
  if (bytes === null || bytes === undefined) return "";
  for (const [power, unit] of [[4, "T"], [3, "G"], [2, "M"], [1, "K"]])
    if (bytes >= 1024 ** power && bytes % 1024 ** power === 0) return `${bytes / 1024 ** power}${unit}`;
  return String(bytes);
}
