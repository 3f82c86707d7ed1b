// @ts-check
/* Compare: the address that a comparison has, and what an address asks for. */
import { FAMILIES, FORMER } from "../lib/families.js";
import { PANES, state } from "./state.js";

/** @typedef {import("./state.js").Settings} Settings */

const STANDARD = ["demo/t5", "demo/t5-dpo", "demo/gpt2", "demo/gpt2-dpo", null, null];
const MODES = ["Word diff", "Reward tint"];

/**
 * The query of an address: what differs from a page that was just opened.
 * @param {Settings} request
 * @param {Pick<typeof state, "fields" | "picked" | "samples" | "noise" | "strength" | "mode">} view
 */
export function queryOf(request, { fields, picked, samples, noise, strength, mode }) {
  const query = new URLSearchParams({ prompt: request.prompt });
  for (const name of fields) query.set(name, String(request[name]));
  if (picked.some((value, pane) => (value ?? null) !== STANDARD[pane])) {
    for (const pane of PANES) query.append("policy", picked[pane] || "");
  }
  if (samples !== 1) query.set("samples", String(samples));
  if (!noise) query.set("noise", "own");
  for (const family of FAMILIES) if (strength[family] !== 1) query.set(`lambda_${family}`, String(strength[family]));
  if (mode !== "Text") query.set("show", mode);
  return query;
}
/**
 * The query of a comparison: what it began with, and all settings that made its answers.
 * @param {import("./state.js").Generation} run
 * @param {string} mode how its answers are shown
 */
export function queryOfRun({ request, first, panes, policies, count, same_noise, strength }, mode) {
  const picked = PANES.map((pane) => (panes.includes(pane) ? policies[pane] : null));
  const view = { fields: state.fields, picked, samples: count, noise: same_noise, strength, mode };
  return queryOf({ ...request, prompt: first }, view);
}
/**
 * Put a comparison into the address, with the key under which the history has its answers.
 * @param {import("./state.js").Generation} run
 */
export function remember(run) {
  const query = queryOfRun(run, state.mode);
  if (run.key) query.set("answers", run.key);
  history.replaceState({}, "", `/?${query}`);
}

/**
 * @typedef {object} Link what an address asks for; what it does not name is left as it is
 * @property {string | null} prompt
 * @property {(number | null)[]} numbers in the order of the fields
 * @property {(string | null | undefined)[]} picked by pane; undefined where the link says nothing of it
 * @property {number | null} samples
 * @property {boolean | null} noise
 * @property {[family: string, value: number][]} strength
 * @property {string | null} mode
 * @property {string | null} answers the key of a comparison in the history
 */
/**
 * Read an address; null where it asks for nothing.
 * @param {string} search
 * @param {string[]} fields the settings that it may name
 * @returns {Link | null}
 */
export function readLink(search, fields) {
  const query = new URLSearchParams(search);
  const strengths = [...FAMILIES, ...Object.values(FORMER)].map((family) => `lambda_${family}`);
  const known = ["prompt", "policy", "arm", "samples", "noise", ...Object.values(FORMER), ...strengths, ...fields];
  const mode = MODES.find((name) => name === query.get("show")) ?? null;
  if (!mode && !known.some((name) => query.has(name))) return null;
  const picked = [...query.getAll("policy"), ...query.getAll("arm")].slice(0, PANES.length);
  // Links of earlier versions say arm for policy, or name pairs: base|tuned.
  FAMILIES.forEach((family, row) => {
    const pair = query.get(FORMER[family])?.split("|");
    if (pair?.length === 2) [picked[2 * row], picked[2 * row + 1]] = pair;
  });
  // A link that names panes names them all: the rest are closed.
  if (query.has("policy") || query.has("arm")) while (picked.length < PANES.length) picked.push("");
  const number = /** @param {string} name */ (name) => {
    const value = parseFloat(query.get(name) ?? "");
    return Number.isFinite(value) ? value : null;
  };
  /** @type {[string, number][]} */
  const strength = FAMILIES.flatMap((family) => {
    const value = query.get(`lambda_${family}`) ?? query.get(`lambda_${FORMER[family]}`);
    return value === null ? [] : [/** @type {[string, number]} */ ([family, parseFloat(value) || 0])];
  });
  return {
    prompt: query.get("prompt"),
    numbers: fields.map(number),
    picked: Array.from(picked, (value) => (value === undefined ? undefined : value || null)),
    samples: query.has("samples") ? parseInt(query.get("samples") ?? "", 10) || 1 : null,
    noise: query.has("noise") ? query.get("noise") !== "own" : null,
    strength,
    mode,
    answers: query.get("answers"),
  };
}
