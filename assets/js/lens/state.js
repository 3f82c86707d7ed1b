// @ts-check
/* Lens: what its parts share: what is looked at, the pairs, small building blocks. */
import { $, make, progressBar } from "../lib/dom.js";
import { glyph } from "../lib/families.js";
import * as heat from "../lib/heat.js";

/**
 * @typedef {{ text: string, share: number }} Candidate
 * @typedef {object} Token
 * @property {number} id
 * @property {string} text
 * @property {string} piece as the tokenizer has it
 * @property {number} policy_logp in nats
 * @property {number} reference_logp
 * @property {number} policy_rank
 * @property {number} reference_rank
 * @property {Candidate[]} policy_top
 * @property {Candidate[]} reference_top
 * @property {number} reward
 * @property {string} shift unshifted, marginal or shifted
 *
 * @typedef {object} Look a scored text
 * @property {Token[]} tokens
 * @property {Record<string, [number, number][]>} units spans of tokens: token, word, sentence
 * @property {number} reward
 * @property {number} reward_per_token
 * @property {{ shifted: number }} shifts
 * @property {boolean} [cut]
 *
 * @typedef {object} Result what one policy makes of the texts
 * @property {number} place
 * @property {string} label
 * @property {string} family
 * @property {string} model what it is called: T5, BART, Llama
 * @property {string} reference
 * @property {number} beta
 * @property {Look[]} texts
 *
 * @typedef {{ row: number, text: number, unit: number }} Place a unit on the screen
 * @typedef {Record<string, any>} Pair
 */

export const view = {
  policy: "demo/gpt2-dpo",
  reference: /** @type {string | null} */ (null),
  beside: /** @type {string | null} */ (null),
  mode: "Pair",
  unit: "token",
  clamp: 0.8,
  prompt: "",
  messages: /** @type {unknown} */ (null),
  texts: /** @type {{ text: string, side?: string }[]} */ ([]),
  pair: 0,
};
export const list = {
  pairs: /** @type {Pair[]} */ ([]),
  scored: false,
  policy: /** @type {string | null} */ (null),
  which: "all",
  sort: "low",
  ranges: /** @type {Record<string, [number, number]>} */ ({}),
};
export const lens = {
  /* Colours and the layout of figures, from the server. */
  theme: /** @type {any} */ (null),
  results: /** @type {Result[]} */ ([]),
  selected: /** @type {Place | null} */ (null),
  pinned: false,
};

/** A policy's sign and name. @param {Result} result @param {boolean} tuned else its base */
export const policy = ({ family, model }, tuned) =>
  make("span", "policy", glyph(family, tuned), `${model} ${tuned ? "DPO" : "base"}`);
/** @param {number} value */
export const bin = (value) => heat.bin(value, view.clamp);
/**
 * A unit's colour is its mean per token, so that long sentences are not all at the clamp.
 * @param {Look} look
 * @param {[number, number]} span
 */
export function unitOf(look, [start, end]) {
  const tokens = look.tokens.slice(start, end);
  const sum = tokens.reduce((total, token) => total + heat.ratio(token), 0);
  return { tokens, start, end, sum, mean: sum / tokens.length, text: tokens.map((token) => token.text).join("") };
}
export const sides = () => (view.texts.length === 2 && view.texts[0].side ? ["chosen", "rejected"] : ["A", "B"]);

/**
 * How far the work on the server is, above what it fills.
 * @param {string} id
 * @param {string} text
 * @param {number | null} [share]
 * @param {boolean} [bad]
 */
export function status(id, text, share, bad = false) {
  const box = $(id);
  box.hidden = !text;
  box.classList.toggle("bad", bad);
  if (text) box.replaceChildren(make("span", "", text), ...(bad ? [] : [progressBar(text, share)]));
}
/** @param {number} position in the queue */
export const waiting = (position) => (position ? `${position} ahead in the queue` : "Waiting");
