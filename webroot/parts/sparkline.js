/** A small curve of the last samples; the number beside it says the same in words. */

import { html } from "../view.js";

const WIDTH = 100;
const HEIGHT = 28;

export function Sparkline({ values, most, colour }) {
  const path = curve(values, most);
  return html`<svg class="sparkline" viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
    ${path && html`<path d=${`${path}V${HEIGHT}H${startOf(values)}Z`} fill=${colour} opacity="0.16" />`}
    ${path && html`<path d=${path} fill="none" stroke=${colour} stroke-width="1.600" vector-effect="non-scaling-stroke" />`}
  </svg>`;
}

const KEPT = 60;

function startOf(values) {
  return at(KEPT - values.length);
}

function at(index) {
  return ((index / (KEPT - 1)) * WIDTH).toFixed(1);
}

/** Pure: the curve of `values` (null: not known), the last at the right edge; "" for fewer than two. */
export function curve(values, most) {
  if (values.filter((value) => value !== null).length < 2) return "";
  const top = Math.max(most ?? 0, ...values) || 1;
  const points = values.map((value, index) => {
    const height = HEIGHT - 1 - (Math.max(0, value ?? 0) / top) * (HEIGHT - 3);
    return `${at(KEPT - values.length + index)} ${height.toFixed(1)}`;
  });
  return `M${points.join("L")}`;
}
