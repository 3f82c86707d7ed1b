// @ts-check
/* Lens: asks for scores, and says the same for a terminal, a file and the address. */
import { $, download } from "../lib/dom.js";
import { quote } from "../lib/format.js";
import { aborted, messageOf } from "../lib/http.js";
import { stream } from "../lib/stream.js";
import { lens, sides, status, unitOf, view, waiting } from "./state.js";
import { draw, select } from "./tokens.js";

/** @typedef {import("./state.js").Result} Result */

/** @type {AbortController | null} */
let controller = null;

export async function score() {
  if (!view.prompt.trim() || !view.texts.length) return;
  controller?.abort();
  const mine = (controller = new AbortController());
  const began = performance.now();
  $("lens-heats").classList.add("stale");
  status("lens-status", "Waiting", null);
  remember();
  try {
    const results = await ask(mine.signal);
    if (mine === controller) show(results, performance.now() - began);
  } catch (error) {
    if (!aborted(error) && mine === controller) status("lens-status", messageOf(error), null, true);
  }
}
/** @param {AbortSignal} signal @returns {Promise<Result[]>} */
async function ask(signal) {
  const policies = view.beside && view.beside !== view.policy ? [view.policy, view.beside] : [view.policy];
  const body = {
    policies,
    reference: view.reference || undefined,
    prompt: view.prompt,
    messages: view.messages || undefined,
    texts: view.texts.map(({ text }) => text),
  };
  /** @type {Result[]} */
  const results = [];
  let failed = "";
  const handlers = /** @type {import("../lib/stream.js").Handlers} */ ({
    queued: ({ position }) => status("lens-status", waiting(position), null),
    loading: ({ message }) => status("lens-status", message, null),
    progress: ({ done, total }) => status("lens-status", "Scoring", total > 1 ? done / total : null),
    result(result) {
      results[result.place] = result;
    },
    failed({ message }) {
      failed = message;
    },
  });
  await stream("/api/lens/look", body, handlers, signal);
  if (failed) throw new Error(failed);
  if (results.filter(Boolean).length < policies.length) throw new Error("The connection ended early: score again.");
  return results;
}
/** @param {Result[]} results @param {number} milliseconds */
function show(results, milliseconds) {
  lens.results = results;
  lens.pinned = false;
  status("lens-status", "");
  const tokens = results.flatMap((result) => result.texts).reduce((total, look) => total + look.tokens.length, 0);
  $("status-text").textContent = `Scored ${tokens} tokens in ${(milliseconds / 1000).toFixed(1)} s`;
  $("lens-heats").classList.remove("stale");
  select(null);
  redraw();
  // The largest move is the best place to begin reading.
  const [look] = results[0].texts;
  const moves = look.units[view.unit].map((span) => Math.abs(unitOf(look, span).mean));
  select({ row: 0, text: 0, unit: moves.indexOf(Math.max(...moves)) });
}
/** Draw the results anew, and the command that gives them. */
export function redraw() {
  draw();
  if (lens.results.length) command();
}

/* ---- the same elsewhere ---- */
function command() {
  const asked = view.messages ? `--messages ${quote(JSON.stringify(view.messages))}` : `--prompt ${quote(view.prompt)}`;
  $("lens-repro").hidden = false;
  $("lens-command").textContent = [
    `dpo score --policy ${quote(view.policy)}`,
    ...(view.reference ? [`--reference ${quote(view.reference)}`] : []),
    asked,
    ...view.texts.map(({ text }) => `--text ${quote(text)}`),
    ...(view.unit === "token" ? [] : [`--unit ${view.unit}`]),
  ].join(" ");
}
export function downloadScores() {
  const { prompt, texts } = view;
  const found = { prompt, messages: view.messages || undefined, texts, policies: lens.results };
  download("lens.json", JSON.stringify(found, null, 1), "application/json");
}
/** Put what is looked at into the address. */
export function remember() {
  if (location.pathname !== "/lens") return;
  const query = new URLSearchParams({ policy: view.policy });
  if (view.reference) query.set("reference", view.reference);
  if (view.beside) query.set("beside", view.beside);
  if (view.unit !== "token") query.set("unit", view.unit);
  if (view.clamp !== 0.8) query.set("clamp", String(view.clamp));
  if (view.prompt) query.set("prompt", view.prompt);
  if (view.messages) query.set("messages", JSON.stringify(view.messages));
  const names = sides()[0] === "chosen" ? ["chosen", "rejected"] : ["a", "b"];
  view.texts.slice(0, 2).forEach(({ text }, place) => query.set(names[place], text));
  history.replaceState({}, "", `/lens?${query}`);
}
