// @ts-check
/* Training: a zoom of one chart is a zoom of all, a look at one a look at all. */
import { closest, put } from "../lib/dom.js";
import * as readout from "./readout.js";
import { follow, onScreen, plots, screen } from "./state.js";

/** @param {any} source @param {Record<string, any>} change @param {() => void} redraw */
function zoomed(source, change, redraw) {
  const [from, to] = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
  const reset = change["xaxis.autorange"] === true;
  if (!reset && from === undefined) return;
  // Tells of what `follow` does below; what the user does meanwhile is another zoom.
  const same = reset ? screen.span === null : screen.span?.[0] === from && screen.span?.[1] === to;
  if (screen.following && same) return;
  screen.span = reset ? null : [from, to];
  const zoom = reset ? { "xaxis.autorange": true, "yaxis.autorange": true } : { "xaxis.range": screen.span };
  follow((plot) => (plot === source ? null : window.Plotly.relayout(plot, zoom)));
  redraw(); // names stand where a line ends on screen, and a long curve has finer points on the server
}
let frame = 0;
let leaving = false;
/** Each chart tells in its subtitle what its curves have there. @param {any} source @param {any} event */
function hovered(source, event) {
  if (screen.following || !event.xvals?.length) return;
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(() => {
    const place = readout.snap(source, event.xvals[0]);
    for (const plot of plots()) {
      if (!onScreen(plot) || !plot.data.some((/** @type {any} */ trace) => trace.x?.length)) continue;
      readout.show(plot, place);
      // The last argument: without an event, which would come back here.
      if (plot !== source) window.Plotly.Fx.hover(plot, { xval: place.at, yval: 0 }, "xy", true);
    }
  });
}
/** @param {any} source */
function left(source) {
  cancelAnimationFrame(frame);
  if (leaving) return;
  leaving = true;
  plots().forEach(readout.hide);
  try {
    for (const plot of plots()) if (plot !== source && onScreen(plot)) window.Plotly.Fx.unhover(plot);
  } finally {
    leaving = false;
  }
}
let click = 0;
/** The newest probe at or before the point; the first one for points before it. @param {any} event */
function clicked(event) {
  const x = event.points?.[0]?.x;
  clearTimeout(click);
  // A second click means the zoom.
  if (event.event?.detail > 1 || x === undefined || !screen.probes.length) return;
  let place = 0;
  screen.probes.forEach((at, i) => {
    if (at !== null && at <= x + 1e-9) place = i;
  });
  click = setTimeout(() => put("tr-step", { value: place }), 300); // Plotly's own time for a second one
}
/** A button that is down in a chart. @type {{ plot: any, x: number, y: number, second: boolean } | null} */
let press = null;
/** A chart that is drawn anew while it is dragged loses the drag: it waits for this. */
export async function released() {
  while (press) await new Promise((done) => setTimeout(done, 50));
}
/* The browser knows a second click by when it was made. Plotly goes by when it comes to handle it, and takes it for a
 * first one if drawing kept the page busy in between: then what it misses is done here. */
/** @param {MouseEvent} event */
function pressed(event) {
  const layer = event.button === 0 && closest(event, "#page-training .plot .draglayer");
  const plot = layer && layer.closest(".plot");
  press = plot ? { plot, x: event.clientX, y: event.clientY, second: event.detail === 2 } : null;
}
/** @param {MouseEvent} event */
function freed(event) {
  const done = press;
  press = null;
  if (!done?.second || Math.hypot(event.clientX - done.x, event.clientY - done.y) > 4) return;
  clearTimeout(click);
  let fitted = false;
  const fits = () => {
    fitted = true;
  };
  done.plot.once("plotly_doubleclick", fits);
  setTimeout(() => {
    done.plot.removeListener("plotly_doubleclick", fits);
    if (!fitted) window.Plotly.relayout(done.plot, { "xaxis.autorange": true, "yaxis.autorange": true });
  });
}
addEventListener("mousedown", pressed, true);
addEventListener("mouseup", freed, true);
/** Listen to a chart, once. @param {any} plot @param {() => void} redraw draws all charts anew */
export function attach(plot, redraw) {
  if (plot.dataset.follows || !plot.on) return;
  plot.dataset.follows = "yes";
  plot.on("plotly_relayout", (/** @type {any} */ change) => zoomed(plot, change, redraw));
  plot.on("plotly_hover", (/** @type {any} */ event) => hovered(plot, event));
  plot.on("plotly_unhover", () => left(plot));
  plot.on("plotly_click", clicked);
  plot.on("plotly_doubleclick", () => clearTimeout(click));
}
