/** Numbers and times as people read them, in the language of the page. */

import { language, t } from "./language.js";

const UNITS = ["B", "KB", "MB", "GB", "TB"];

/** `bytes` with three digits and a unit (of 1024); a dash where it is not known. */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  let unit = 0;
  let amount = bytes;
  while (amount >= 1000 && unit < UNITS.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  const digits = unit > 0 && amount < 10 ? 1 : 0;
  return `${number(amount, digits)} ${UNITS[unit]}`;
}

export function number(amount, digits = 0) {
  return new Intl.NumberFormat(language.value, {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  }).format(amount);
}

export function percent(amount) {
  return amount === null || amount === undefined ? "–" : `${number(amount, amount < 10 ? 1 : 0)} %`;
}

/** `seconds` since the epoch as date and time. */
export function moment(seconds) {
  return new Intl.DateTimeFormat(language.value, { dateStyle: "medium", timeStyle: "medium" }).format(seconds * 1000);
}

/** How long `seconds` are, in the largest fitting unit. */
export function duration(seconds) {
  const steps = [
    ["time.days", 86400],
    ["time.hours", 3600],
    ["time.minutes", 60],
  ];
  for (const [key, length] of steps) if (seconds >= length) return t(key, { count: Math.floor(seconds / length) });
  return t("time.seconds", { count: Math.max(0, Math.floor(seconds)) });
}
