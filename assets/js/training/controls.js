// @ts-check
/* Training: its controls and keys, and the view in the address. */
import { all, closest, none, plainKey, put } from "../lib/dom.js";
import { drawAll, drawSeen } from "./drawing.js";
import * as readout from "./readout.js";
import { follow, moved, onPage, plots, screen } from "./state.js";

/** A value between two. @param {number} value @param {number} low @param {number} high */
const within = (value, low, high) => Math.min(Math.max(value, low), high);

/** Up and down scroll the page, unless the answers are what is looked at. */
const answersInView = () => Boolean(document.querySelector(".answers-card:is(:hover, :focus-within)"));
document.addEventListener("keydown", (event) => {
  if (!onPage() || !plainKey(event)) return;
  const { probes, prompts } = screen;
  const step = /** @type {Record<string, number>} */ ({ "[": -1, "]": 1 })[event.key];
  const prompt = /** @type {Record<string, number>} */ ({ ArrowUp: -1, ArrowDown: 1 })[event.key];
  if (step && probes.length) {
    const last = probes.length - 1;
    put("tr-step", { value: within((screen.place ?? last) + step, 0, last) });
  }
  if (!prompt || !closest(event, ".answers-card, body") || closest(event, "[role=slider], [role=listbox]")) return;
  if (!answersInView()) return;
  const next = prompts[within(prompts.indexOf(screen.prompt ?? "") + prompt, 0, prompts.length - 1)];
  if (!next) return;
  event.preventDefault();
  put("tr-prompt", { value: next });
});

// The list of runs stands beside the charts where there is room; else a button above them opens it.
const wide = matchMedia("(min-width: 1181px)");
wide.addEventListener("change", () => {
  for (const fold of all(".picker-fold")) /** @type {HTMLDetailsElement} */ (fold).open = wide.matches;
});

export const callbacks = {
  /** @param {string | null} search @param {string} pathname */
  restore(search, pathname) {
    const [fold] = /** @type {HTMLDetailsElement[]} */ (all(".picker-fold"));
    if (fold && !fold.dataset.seen) fold.open = wide.matches;
    if (fold) fold.dataset.seen = "yes";
    const query = new URLSearchParams(search || "");
    const names = ["x", "smooth", "log", "norm", "filter", "run"];
    if (pathname !== "/training" || !names.some((name) => query.has(name))) return names.map(none);
    const smooth = parseInt(query.get("smooth") ?? "", 10);
    const one = /** @param {string} name @param {string[]} values */ (name, values) =>
      values.includes(query.get(name) ?? "") ? query.get(name) : none();
    return [
      query.has("run") ? query.getAll("run") : none(),
      one("x", ["Step", "Examples", "Epoch", "Tokens", "Time"]),
      Number.isFinite(smooth) ? within(smooth, 0, 99) : none(),
      query.get("log") === "1",
      one("norm", ["Reward", "÷ β", "Per token"]),
      query.get("filter") ?? none(),
    ];
  },
  /** @param {string[] | null} runs @param {string} axis @param {number} smoothing @param {boolean} log
   * @param {string} norm @param {string | null} filter */
  remember(runs, axis, smoothing, log, norm, filter) {
    if (!onPage()) return none();
    const query = new URLSearchParams({ x: axis, smooth: String(smoothing) });
    if (log) query.set("log", "1");
    if (norm !== "Reward") query.set("norm", norm);
    if (filter) query.set("filter", filter);
    (runs || []).forEach((run) => query.append("run", run));
    history.replaceState({}, "", `/training?${query}`);
    return none();
  },
  /** @param {number} place @param {(number | null)[] | null} at */
  point(place, at) {
    screen.probes = at || [];
    screen.place = place;
    screen.cursor = place < screen.probes.length - 1 ? (screen.probes[place] ?? null) : null;
    follow((plot) => window.Plotly.relayout(plot, moved(plot.layout)));
    plots().forEach(readout.rest);
    return none();
  },
  /** @param {string[] | null} prompts @param {string | null} prompt */
  prompts(prompts, prompt) {
    Object.assign(screen, { prompts: prompts || [], prompt });
    return none();
  },
  /** @param {string[] | null} runs @param {string} axis @param {number} smoothing @param {boolean} log
   * @param {string} unit */
  draw(runs, axis, smoothing, log, unit) {
    const wanted = { runs: runs || [], axis, smoothing, log, unit };
    const same = JSON.stringify(wanted) === JSON.stringify(screen.view);
    // Another axis has other places: those on the old one mean nothing there, until `point` gets the new ones.
    if (screen.view && screen.view.axis !== axis) screen.span = screen.cursor = null;
    screen.view = wanted;
    if (same) drawSeen();
    else drawAll();
    return none();
  },
  /** @param {number} value */
  smooth: (value) => (value / 100).toFixed(2),
  /** @param {number} clicks */
  pause(clicks) {
    screen.paused = clicks % 2 === 1;
    return screen.paused ? "Go on" : "Pause";
  },
};
