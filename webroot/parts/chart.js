/** A chart by uPlot, which is loaded with the first one. */

import { assure } from "../api/client.js";
import { t } from "../language.js";
import { theme } from "../theme.js";
import { KEPT, SECONDS } from "../usage.js";
import { html, useEffect, useRef } from "../view.js";
import { duration } from "../words.js";
import { notify } from "./notice.js";
import { loadStyle } from "./style_sheet.js";

const HEIGHT = 160;
const HOUR = 3600;
const COLOURS = ["--chart-cpu", "--chart-memory", "--md-error"];

/** `curves` are [key of the name, values]; `shown` writes a value; `seconds` are how much time there is room for. */
export function Chart({ at, curves, shown, seconds = SECONDS * (KEPT - 1) }) {
  const box = useRef(null);
  const chart = useRef(null);
  const now = at.at(-1) ?? 0;
  const data = [at.map((moment) => moment - now), ...curves.map(([, values]) => values)];
  const latest = useRef(data);
  latest.current = data;
  useEffect(() => {
    const element = box.current;
    let wanted = true;
    let observer = null;
    loadPlot().then((Plot) => {
      if (!wanted) return;
      chart.current = new Plot(options(element, curves, shown, seconds), latest.current, element);
      observer = new ResizeObserver(() => chart.current.setSize({ width: element.clientWidth, height: HEIGHT }));
      observer.observe(element);
    }, (problem) => notify(problem.message, "error"));
    return () => {
      wanted = false;
      observer?.disconnect();
      chart.current?.destroy();
      chart.current = null;
    };
  }, [curves.length, theme.value, seconds]);
  useEffect(() => chart.current?.setData(latest.current));
  return html`<div class="chart" ref=${box} role="img" aria-label=${curves.map(([name]) => t(name)).join(", ")}></div>`;
}

async function loadPlot() {
  await assure();
  const [{ default: Plot }] = await Promise.all([import("../vendor/uplot.js"), loadStyle("vendor/uplot.css")]);
  return Plot;
}

function ago(seconds) {
  if (seconds > -1) return t("time.now");
  return seconds > -HOUR ? t("time.ago", { count: Math.round(-seconds) }) : `−${duration(-seconds)}`;
}

function options(box, curves, shown, seconds) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const lines = { stroke: colour("--md-on-surface-variant"), grid: { stroke: colour("--md-outline-variant"), width: 1 }, ticks: { show: false } };
  return {
    width: box.clientWidth,
    height: HEIGHT,
    legend: { show: curves.length > 1 },
    cursor: { drag: { x: false, y: false } },
    scales: { x: { time: false, range: [-seconds, 0] }, y: { range: (_, least, most) => [0, Math.max(most ?? 0, 1) * 1.1] } },
    axes: [{ ...lines, values: (_, values) => values.map(ago), incrs: [30, 60, 6 * HOUR, 24 * HOUR, 48 * HOUR] }, { ...lines, size: 72, values: (_, values) => values.map(shown) }],
    series: [
      { label: "", value: (_, value) => (value === null ? "" : ago(value)) },
      ...curves.map(([name], index) => ({
        label: t(name),
        stroke: colour(COLOURS[index % COLOURS.length]),
        width: 2,
        fill: curves.length === 1 ? `${colour(COLOURS[0])}22` : undefined,
        points: { show: false },
        value: (_, value) => (value === null ? "–" : shown(value)),
      })),
    ],
  };
}
