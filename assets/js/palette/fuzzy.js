// @ts-check
/* How well a text fits what was typed: its letters in their order, better at the start of words and side by side. */

const START = 8,
  BESIDE = 5,
  APART = 1;

/**
 * The score of a text, higher for a better fit; -1 where letters are missing. Blanks in what was typed part words that
 * may stand in any order.
 * @param {string} typed
 * @param {string} text
 */
export function score(typed, text) {
  let sum = 0;
  for (const word of typed.toLowerCase().split(/\s+/).filter(Boolean)) {
    const one = best(word, text.toLowerCase());
    if (one < 0) return -1;
    sum += one;
  }
  return sum - text.length / 100; // of equal fits the shorter text
}
/** @param {string} word @param {string} text */
function best(word, text) {
  const whole = text.indexOf(word);
  if (whole >= 0) return word.length * BESIDE + (starts(text, whole) ? 2 * START : 0);
  let at = -1;
  let sum = 0;
  for (const letter of word) {
    const next = text.indexOf(letter, at + 1);
    if (next < 0) return -1;
    sum += worth(text, at, next);
    at = next;
  }
  return sum;
}
/** @param {string} text @param {number} before @param {number} at */
function worth(text, before, at) {
  if (starts(text, at)) return START;
  return at === before + 1 ? BESIDE : APART;
}
/** @param {string} text @param {number} at */
const starts = (text, at) => at === 0 || !/[\p{L}\p{N}]/u.test(text[at - 1]);

/**
 * The items that fit, the best first, in their own order where nothing was typed.
 * @template {{ text: string, kind: string }} T
 * @param {string} typed
 * @param {T[]} items
 * @param {number} most
 */
export function ranked(typed, items, most) {
  if (!typed.trim()) return items.slice(0, most);
  return items
    .map((item) => ({ item, fits: score(typed, `${item.text} ${item.kind}`) }))
    .filter(({ fits }) => fits >= 0)
    .sort((one, other) => other.fits - one.fits)
    .slice(0, most)
    .map(({ item }) => item);
}
