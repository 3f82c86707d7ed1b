// @ts-check
/* Words that one of two texts has and the other has not. */
import { diffArrays } from "../../vendor/jsdiff-9.0.0/array.js";

/** @typedef {[word: string, own: boolean]} Word with its leading blank, and whether only this side has it */

/** @param {string} text @returns {string[]} */
const split = (text) => text.match(/\s*\S+/g) || [];

/**
 * The words of both sides.
 * @param {string} left
 * @param {string} right
 * @returns {[Word[], Word[]]}
 */
export function words(left, right) {
  const sides = [split(left), split(right)];
  const [a, b] = sides.map((list) => list.map((word) => word.trim()));
  /** @type {[Word[], Word[]]} */
  const found = [[], []];
  /** @param {number} side @param {number} count @param {boolean} own */
  const take = (side, count, own) => {
    for (const word of sides[side].splice(0, count)) found[side].push([word, own]);
  };
  for (const { count, added, removed } of diffArrays(a, b)) {
    if (!added) take(0, count, removed);
    if (!removed) take(1, count, added);
  }
  return found;
}
/**
 * The same, worked out once for the last pair of texts at each place: pictures are drawn more often than texts change.
 * @returns {(place: number, left: string, right: string) => [Word[], Word[]]}
 */
export function rememberedWords() {
  /** @type {Map<number, { left: string, right: string, found: [Word[], Word[]] }>} */
  const last = new Map();
  return (place, left, right) => {
    const known = last.get(place);
    if (known && known.left === left && known.right === right) return known.found;
    const found = words(left, right);
    last.set(place, { left, right, found });
    return found;
  };
}
