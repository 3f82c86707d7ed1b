// @ts-check
/* Compare: what its parts share: the panes' policies, the settings, the generation on screen. */
import { $, find } from "../lib/dom.js";
import { FAMILIES } from "../lib/families.js";

/**
 * @typedef {object} Policy
 * @property {string} value as it is chosen, engine and all
 * @property {string} policy the policy itself
 * @property {string} label
 * @property {string} short
 * @property {string | null} family
 * @property {boolean} tuned
 * @property {string | null} [model] what it is called: T5, BART, Llama
 * @property {string | null} [reference] what it was tuned from
 * @property {string} [about] how large it is and what it learned from
 * @property {string | null} note what does not act there
 */
/** @typedef {import("../lib/heat.js").Look} Look */
/**
 * @typedef {object} Sample one answer
 * @property {string} text
 * @property {number} tokens
 * @property {number} seed
 * @property {boolean} [live] whether it is being written
 * @property {string} [end] how it ended
 * @property {string} [failed] why there is none
 * @property {boolean} [stopped]
 * @property {number} [position] in the queue
 * @property {string} [note]
 * @property {number} [first] seconds to the first token
 * @property {number} [rate] tokens in a second
 * @property {number} [seconds]
 * @property {Look} [look] as Lens scored it
 * @property {Look & { length: number, begun: number }} [arriving] its log-ratios while it is written
 */
/**
 * @typedef {object} Stream one request: its id tells its events from those of an earlier one, which may still arrive
 * @property {string} id
 * @property {AbortController} controller
 * @property {number} started
 * @property {number[]} asked panes in the order in which they are answered
 * @property {Set<number>} dirty panes to be drawn at the next frame
 * @property {boolean} over
 * @property {boolean} stopping
 * @property {string | null} job the server's number for it
 * @property {string | null} note
 * @property {string} [seconds]
 */
/** @typedef {[prompt: string, answer: string][]} Turns */
/** @typedef {{ prompt: string, seed: number, [name: string]: any }} Settings */
/**
 * @typedef {object} Generation by pane: samples, shown (which of them), policies, lambdas, turns
 * @property {string} id
 * @property {string} [key] under which the history keeps it; the example and rows of the table have none
 * @property {string} [created] when it was kept, where it comes from the history
 * @property {Sample[][]} samples
 * @property {number[]} shown
 * @property {string[]} policies
 * @property {number[]} lambdas
 * @property {Turns[]} turns
 * @property {string} first the prompt that its conversation began with
 * @property {number[]} panes that were asked
 * @property {Settings} request
 * @property {number} count of samples
 * @property {Record<number, { text: string, tokens: number }>} seen what each pane's policy was given
 * @property {boolean} same_noise
 * @property {Record<string, number>} strength
 * @property {Record<number, number>} [same] share of equal tokens, by row
 * @property {boolean} [stored] whether it is the example that came with the page
 * @property {Stream} stream
 */

export const PANES = [0, 1, 2, 3, 4, 5];
/** The field of a sampling setting. @param {string} name as the server names it */
export const fieldId = (name) => `cmp-${name.replaceAll("_", "-")}`;
const ENGINE = /#ctranslate2(-int8)?$/;
const PLAIN = "Plain sampling: same noise, λ and tint do not act here";

export const state = {
  known: /** @type {Record<string, Policy>} */ ({}),
  /* What a pane has; and what a link wants there, which may not be in the list. */
  picked: /** @type {(string | null)[]} */ (PANES.map(() => null)),
  linked: /** @type {Record<number, string>} */ ({}),
  mode: "Text",
  samples: 1,
  noise: true,
  strength: /** @type {Record<string, number>} */ (Object.fromEntries(FAMILIES.map((family) => [family, 1]))),
  /* The sampling settings that have a field on the page, as the server names them. */
  fields: /** @type {string[]} */ ([]),
  /* The generation on screen. */
  run: /** @type {Generation | null} */ (null),
  /* What stands in the composer now; the answers on screen may belong to something else. */
  wanted: /** @type {Settings | null} */ (null),
};

/**
 * What is known of a policy. A link may name one that is not in the list; its name says what can be known.
 * @param {string | null} name
 * @returns {Policy}
 */
export function about(name) {
  const value = name || "";
  if (state.known[value]) return state.known[value];
  const policy = value.replace(ENGINE, "");
  const plain = policy !== value || /^https?:/.test(value);
  const { family = null, tuned = false, model = null } = state.known[policy] || {};
  return {
    value,
    policy,
    label: value,
    short: value.split("/").pop() || value,
    family,
    tuned,
    model,
    note: plain ? PLAIN : null,
  };
}
export const active = () => PANES.filter((pane) => state.picked[pane]);
/**
 * What the policies of a family in some panes are called.
 * @param {string} family
 * @param {number[]} panes
 */
export function modelsOf(family, panes) {
  const policies = panes.map((pane) => about(state.picked[pane])).filter((policy) => (policy.family || "") === family);
  return [...new Set(policies.map((policy) => policy.model || "Other"))];
}
/** @param {number} pane */
export const partner = (pane) => (state.picked[pane ^ 1] ? pane ^ 1 : null);
/**
 * How far a policy is turned. Only our own loop can turn one up or down.
 * @param {string | null} value
 */
export function lambdaOf(value) {
  const policy = about(value);
  return policy.tuned && !policy.note ? (state.strength[policy.family ?? ""] ?? 1) : 1;
}
/**
 * The λ of the answer that a pane shows; without one, that of the next.
 * @param {number} pane
 */
export const shownLambda = (pane) =>
  state.run?.samples[pane]?.length ? state.run.lambdas[pane] : lambdaOf(state.picked[pane]);
export const writing = () => Boolean(state.run && !state.run.stream.over);
/** @param {number} pane */
export const sampleOf = (pane) => state.run?.samples[pane]?.[state.run.shown[pane]] || null;
/**
 * Whose rewards colour the answer of a pane: a tuned policy's own, a base's tuned neighbour's.
 * @param {number} pane
 */
export function lensPolicy(pane) {
  const policy = about(state.picked[pane]);
  if (state.run?.turns[pane]?.length) return null; // Lens reads single questions
  if (policy.tuned) return policy.policy;
  const others = [partner(pane), ...active()].filter((other) => other !== null);
  const near = others.map((other) => about(state.picked[/** @type {number} */ (other)]));
  return near.find((other) => other.tuned && other.family === policy.family)?.policy || null;
}
/** Voting follows along. */
export const changed = () => document.dispatchEvent(new Event("compare"));
/** @param {string} text */
export function problem(text) {
  $("cmp-error").textContent = text;
  $("cmp-error").hidden = !text;
}
/** Whether the page is looked at. */
export const onPage = () => find("page-compare")?.hidden === false;
