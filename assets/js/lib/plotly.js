// @ts-check
/* Plotly's script, from where Dash has it: it runs for half a second, so the page is painted before. */
import { script } from "./script.js";

/** The next frame is on screen; a tab that nobody sees has no frames. */
const painted = () =>
  new Promise((done) => {
    requestAnimationFrame(() => setTimeout(done));
    setTimeout(done, 300);
  });

/** Plotly, once it is there. */
export async function plotly() {
  if (!window.Plotly) await painted();
  if (!window.Plotly) await script(window._dashPlotlyJSURL, "Plotly");
  return window.Plotly;
}
