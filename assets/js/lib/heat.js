// @ts-check
/* Nine steps of colour for a log ratio, shared by Lens and the reward tint of Compare. */
import { make } from "./dom.js";
import { signed } from "./format.js";

/**
 * @typedef {{ text: string, policy_logp: number, reference_logp: number, [more: string]: any }} Token
 * @typedef {{ tokens: Token[], units: Record<string, [number, number][]>, [more: string]: any }} Look a scored text
 */

/**
 * The log ratio of policy to reference, in nats.
 * @param {Token} token
 */
export const ratio = (token) => token.policy_logp - token.reference_logp;
/**
 * Class of a value in nats: n4 to p4, none where it is next to nothing; strength 4 is at the clamp.
 * @param {number} value
 * @param {number} clamp
 */
export function bin(value, clamp) {
  const size = Math.abs(value) * (0.8 / clamp);
  const step = size >= 0.8 ? 4 : size >= 0.5 ? 3 : size >= 0.25 ? 2 : size >= 0.05 ? 1 : 0;
  return step ? (value < 0 ? "n" : "p") + step : "";
}
/**
 * A text in two: its leading blanks, which stay unpainted, and the rest.
 * @param {string} text
 * @returns {[string, string]}
 */
export function leading(text) {
  const lead = text.match(/^\s+/)?.[0] || "";
  return [lead, text.slice(lead.length)];
}
/**
 * A text as coloured nodes, one for each unit from a first one on.
 * @param {Look} look
 * @param {string} unit
 * @param {number} clamp
 * @param {number} [from]
 * @returns {(string | HTMLElement)[]}
 */
export function paint(look, unit, clamp, from = 0) {
  return look.units[unit].slice(from).flatMap(([start, end]) => {
    const tokens = look.tokens.slice(start, end);
    const [lead, body] = leading(tokens.map((token) => token.text).join(""));
    if (!body) return [lead];
    const mean = tokens.reduce((sum, token) => sum + ratio(token), 0) / tokens.length;
    return [lead, make("span", { className: `tok ${bin(mean, clamp)}`, title: `${signed(mean)} nat` }, body)];
  });
}
