// @ts-check
/* Plotly's script, from where Dash has it: it runs for half a second, so the page is painted before. */

/** The next frame is on screen; a tab that nobody sees has no frames. */
const painted = () =>
  new Promise((done) => {
    requestAnimationFrame(() => setTimeout(done));
    setTimeout(done, 300);
  });
/** @type {Promise<unknown> | null} */
let script = null;

const load = () =>
  new Promise((done, fail) => {
    const node = Object.assign(document.createElement("script"), { src: window._dashPlotlyJSURL, onload: done });
    node.onerror = () => {
      script = null;
      node.remove();
      fail(new Error("Plotly's script did not come: is the server still running?"));
    };
    document.head.append(node);
  });

/** Plotly, once it is there. */
export async function plotly() {
  if (!window.Plotly) await (script ??= painted().then(load));
  return window.Plotly;
}
