// @ts-check
/* Compare: words that only one of two answers has, marked. */
import { make } from "../lib/dom.js";
import { leading } from "../lib/heat.js";

/** @typedef {import("../lib/diff.js").Word} Word */

/** Words in a row that are all own, or all not, as one. @param {Word[]} words */
function runsOf(words) {
  /** @type {Word[]} */
  const found = [];
  for (const [text, own] of words) {
    const last = found.at(-1);
    if (last && last[1] === own) last[0] += text;
    else found.push([text, own]);
  }
  return found;
}
/**
 * The words as nodes; the blank before a mark is not part of it.
 * @param {Word[]} words
 * @param {string} className of the marks
 * @returns {(string | HTMLElement)[]}
 */
export const mark = (words, className) =>
  runsOf(words).flatMap(([text, own]) => {
    if (!own) return [text];
    const [lead, body] = leading(text);
    return [lead, make("span", className, body)];
  });
