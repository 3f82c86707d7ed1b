// @ts-check
/* Training: a chart as a picture for a paper: title, axes with units, a legend, in the page's font. */
import { part } from "../lib/dom.js";
import { request } from "../lib/http.js";

const SIZE = { width: 900, height: 560 };
const FINE = 3; // pixels of a PNG for one of the figure: 300 a inch at the width of a page
const FONTS = { 400: "inter-regular", 600: "inter-semibold" };
const FACE = "Inter, Helvetica, Arial, sans-serif";

/** @param {string} text */
const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
/** The font files as a style: a picture is drawn without the page's. @returns {Promise<string>} */
async function faces() {
  const rules = Object.entries(FONTS).map(async ([weight, name]) => {
    const bytes = new Uint8Array(await (await request(`/assets/fonts/${name}.woff2`)).arrayBuffer());
    const text = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
    return `@font-face{font-family:Inter;font-weight:${weight};src:url(data:font/woff2;base64,${text})}`;
  });
  return `<style>${(await Promise.all(rules)).join("")}</style>`;
}
/** What a legend says of a curve. @param {any} meta */
const entry = ({ label, kind, second }) => `${label}${kind === "smoothed" && !second ? "" : ` (${kind})`}`;
/**
 * The figure on white paper, with everything in it that the page writes around it.
 * @param {HTMLElement} card
 */
function figure(card) {
  const plot = /** @type {any} */ (part(card, ".js-plotly-plot"));
  const ink = "black";
  const { layout } = plot;
  const curves = plot.data.filter((/** @type {any} */ trace) => trace.meta?.kind && trace.x.length);
  const names = new Set();
  const data = curves.map((/** @type {any} */ trace) => {
    const name = escaped(entry(trace.meta));
    const showlegend = !names.has(name);
    names.add(name);
    return { ...trace, name, showlegend, hoverinfo: "skip" };
  });
  const font = { family: FACE, size: 14, color: ink };
  const { unit } = layout.meta;
  const title = part(card, "h3").textContent || "";
  const found = part(card, ".found").textContent || "";
  const grid = "rgba(0,0,0,.12)";
  const axis = { tickfont: font, linecolor: ink, gridcolor: grid, showline: true, ticks: "outside", tickcolor: ink };
  const shown = /** @param {"xaxis" | "yaxis"} which */ (which) => {
    const { range, type } = plot._fullLayout[which];
    return { range, type, autorange: false };
  };
  const titled = /** @param {string} text */ (text) => ({ text, font, standoff: 8 });
  const below = found ? `<br><span style="font-size:14px">${escaped(found)}</span>` : "";
  const heading = { text: `<b>${escaped(title)}</b>${below}`, font: { ...font, size: 18 } };
  return {
    data,
    layout: {
      ...layout,
      ...SIZE,
      font,
      paper_bgcolor: "white",
      plot_bgcolor: "white",
      showlegend: true,
      legend: { orientation: "h", x: 0, y: -0.2, yanchor: "top", font },
      title: { ...heading, x: 0.02, xanchor: "left", y: 0.97, yanchor: "top", pad: { t: 12 } },
      margin: { l: 76, r: 24, t: 76, b: 116 },
      xaxis: { ...layout.xaxis, ...axis, ...shown("xaxis"), showgrid: false, title: titled(layout.xaxis.title.text) },
      yaxis: { ...layout.yaxis, ...axis, ...shown("yaxis"), title: titled(unit ? `${title} (${unit})` : title) },
      annotations: (layout.annotations || []).map((/** @type {any} */ note) => ({ ...note, font })),
      shapes: layout.shapes.filter((/** @type {any} */ { name, visible }) => !name || (name === "cursor" && visible)),
    },
    config: { staticPlot: true },
  };
}
/** @param {HTMLElement} card @returns {Promise<string>} */
async function drawn(card) {
  const image = await window.Plotly.toImage(figure(card), { format: "svg", ...SIZE });
  const svg = decodeURIComponent(image.replace(/^data:image\/svg\+xml,/, ""));
  return svg.replace(/(<svg[^>]*>)/, `$1${await faces()}`);
}
/** @param {string} svg @returns {Promise<Blob>} */
async function painted(svg) {
  const image = new Image();
  image.src = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
  await image.decode();
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: FINE * SIZE.width, height: FINE * SIZE.height });
  /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")).drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(image.src);
  return new Promise((done, fail) =>
    canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error("The picture could not be drawn"))), "image/png"),
  );
}
/**
 * A chart as it is on screen, as a file's content.
 * @param {HTMLElement} card
 * @param {"png" | "svg"} format
 * @returns {Promise<Blob>}
 */
export async function picture(card, format) {
  const svg = await drawn(card);
  return format === "svg" ? new Blob([svg], { type: "image/svg+xml" }) : painted(svg);
}
