/** Icons as strokes on a grid of 24, drawn in the colour of the text around them. */

import { html } from "../view.js";

/** What the first view needs; others add theirs. */
export const STROKES = {
  add: "M12 5v14M5 12h14",
  battery: "M3 8h15v8H3zM21 11v2M6 11v2M9 11v2",
  bolt: "M13 3L5 14h6l-1 7 8-11h-6z",
  box: "M4 8l8-4 8 4v8l-8 4-8-4zM4 8l8 4 8-4M12 12v8",
  check: "M5 12.5l4.5 4.5L19 7.5",
  chip: "M7 7h10v10H7zM10 3v4M14 3v4M10 17v4M14 17v4M3 10h4M3 14h4M17 10h4M17 14h4",
  close: "M6 6l12 12M18 6L6 18",
  disk: "M4 6c0-1.7 3.6-3 8-3s8 1.3 8 3-3.600 3-8 3-8-1.300-8-3zM4 6v12c0 1.700 3.600 3 8 3s8-1.300 8-3V6M4 12c0 1.700 3.600 3 8 3s8-1.300 8-3",
  heat: "M10 4.500a2 2 0 014 0V13a4.500 4.500 0 11-4 0zM12 10v7",
  info: "M12 21a9 9 0 100-18 9 9 0 000 18zM12 11v6M12 7.500v.01",
  memory: "M4 7h16v10H4zM8 7v10M12 7v10M16 7v10M6 17v3M10 17v3M14 17v3M18 17v3",
  play: "M8 5l11 7-11 7z",
  refresh: "M20 11a8 8 0 10-2 6M20 5v6h-6",
  rocket: "M12 15l-3-3c1-5 4-8 10-8 0 6-3 9-8 10zM9 12H5l2-4h4M12 15v4l4-2v-4M6 16c-1.500 1-2 4-2 4s3-.5 4-2",
  search: "M11 18a7 7 0 100-14 7 7 0 000 14zM16 16l5 5",
  settings: "M4 7h9M17 7h3M15 5v4M4 17h3M11 17h9M9 15v4M4 12h2M10 12h10M8 10v4",
  shield: "M12 3l8 3v6c0 5-3.500 8-8 9-4.500-1-8-4-8-9V6z",
  stop: "M6 6h12v12H6z",
  tasks: "M4 6l1.500 1.500L8 5M4 12l1.500 1.500L8 11M4 18l1.500 1.500L8 17M11 6.500h9M11 12.500h9M11 18.500h9",
  terminal: "M4 5h16v14H4zM7.500 9l3 3-3 3M13 15h4",
  warning: "M12 4l9.500 16h-19zM12 10v5M12 17.500v.01",
};

/** An icon beside a label; one that stands alone is in a button that has an `aria-label`. */
export function Icon({ name, size = 24 }) {
  return html`<svg class="icon" width=${size} height=${size} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
    <path d=${STROKES[name]} fill="none" stroke="currentColor" stroke-width="1.800" stroke-linecap="round" stroke-linejoin="round" />
  </svg>`;
}
