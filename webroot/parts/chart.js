/** A chart by uPlot, which is loaded with the first one. */

import { t } from "../language.js";
import { theme } from "../theme.js";
import { KEPT, SECONDS } from "../usage.js";
import { html, useEffect, useRef } from "../view.js";
import { loadStyle } from "./style_sheet.js";

const HEIGHT = 160;
const COLOURS = ["--chart-cpu", "--chart-memory", "--md-error"];

/** `curves` are [key of the name, values]; `shown` writes a value. */
export function Chart({ at, curves, shown }) {
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
    Promise.all([import("../vendor/uplot.js"), loadStyle("vendor/uplot.css")]).then(([{ default: Plot }]) => {
      if (!wanted) return;
      chart.current = new Plot(options(element, curves, shown), latest.current, element);
      observer = new ResizeObserver(() => chart.current.setSize({ width: element.clientWidth, height: HEIGHT }));
      observer.observe(element);
    });
    return () => {
      wanted = false;
      observer?.disconnect();
      chart.current?.destroy();
      chart.current = null;
    };
  }, [curves.length, theme.value]);
  useEffect(() => chart.current?.setData(latest.current));
  return html`<div class="chart" ref=${box} role="img" aria-label=${curves.map(([name]) => t(name)).join(", ")}></div>`;
}

function ago(seconds) {
  return seconds > -1 ? t("time.now") : t("time.ago", { count: Math.round(-seconds) });
}

function options(box, curves, shown) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const lines = { stroke: colour("--md-on-surface-variant"), grid: { stroke: colour("--md-outline-variant"), width: 1 }, ticks: { show: false } };
  return {
    width: box.clientWidth,
    height: HEIGHT,
    legend: { show: curves.length > 1 },
    cursor: { drag: { x: false, y: false } },
    scales: { x: { time: false, range: [-SECONDS * (KEPT - 1), 0] }, y: { range: (_, least, most) => [0, Math.max(most ?? 0, 1) * 1.1] } },
    axes: [{ ...lines, values: (_, values) => values.map(ago), incrs: [30, 60] }, { ...lines, size: 72, values: (_, values) => values.map(shown) }],
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
