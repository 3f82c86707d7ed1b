// @ts-check
/* Compare: what differs between two answers, in a line and in a sentence; counted by the patterns of evaluations. */
import { counted } from "../lib/format.js";

/** @typedef {{ words: number, emoji: number, first_person: number, speaks_of_ai: number }} Traits */
/**
 * @typedef {object} Change one trait in which the second answer differs
 * @property {string} key which change it is: the same in two rows where both have it
 * @property {string} line in the line above a row
 * @property {string} one what one model does after it
 * @property {string} more what several do
 */

/** @type {Record<string, RegExp>} */
let patterns = {};
/** @param {Record<string, [pattern: string, flags: string]>} given by the server (example.py) */
export function setPatterns(given) {
  patterns = Object.fromEntries(Object.entries(given).map(([name, [text, flags]]) => [name, new RegExp(text, flags)]));
}
/** @param {string} text @param {string} name */
const count = (text, name) => (patterns[name] ? [...text.matchAll(patterns[name])].length : 0);
/** @param {string} text @returns {Traits} */
export const traitsOf = (text) => ({
  words: text.split(/\s+/).filter(Boolean).length,
  emoji: count(text, "emoji"),
  first_person: count(text, "first_person"),
  speaks_of_ai: count(text, "speaks_of_ai"),
});

const AI_CHANGES = {
  gone: ["no longer speaks of being an AI", "stops speaking of being an AI", "stop speaking of being an AI"],
  new: ["speaks of being an AI", "starts to speak of being an AI", "start to speak of being an AI"],
};
/** @param {Traits} a @param {Traits} b @returns {Change[]} */
function aiChange(a, b) {
  if (Boolean(a.speaks_of_ai) === Boolean(b.speaks_of_ai)) return [];
  const key = a.speaks_of_ai ? "gone" : "new";
  const [line, one, more] = AI_CHANGES[key];
  return [{ key: `ai ${key}`, line, one, more }];
}
/** @param {Traits} a @param {Traits} b @returns {Change[]} */
function emojiChange(a, b) {
  const gap = b.emoji - a.emoji;
  if (!gap) return [];
  const line = `${Math.abs(gap)} emoji ${gap > 0 ? "more" : "fewer"}`;
  if (gap > 0 && !a.emoji) return [{ key: "emoji new", line, one: "adds emoji", more: "add emoji" }];
  if (gap < 0 && !b.emoji) return [{ key: "emoji gone", line, one: "drops emoji", more: "drop emoji" }];
  const how = gap > 0 ? "more" : "fewer";
  return [{ key: `emoji ${how}`, line, one: `uses ${how} emoji`, more: `use ${how} emoji` }];
}
/** @param {Traits} a @param {Traits} b @returns {Change[]} */
function personChange(a, b) {
  const gap = b.first_person - a.first_person;
  if (Math.abs(gap) < 2) return [];
  const how = gap > 0 ? "more" : "less";
  const line = `${Math.abs(gap)} ${gap > 0 ? "more" : "fewer"} first-person words`;
  return [{ key: `person ${how}`, line, one: `says “I” ${how} often`, more: `say “I” ${how} often` }];
}
/** @param {Traits} a @param {Traits} b @returns {Change[]} */
function lengthChange(a, b) {
  const gap = b.words - a.words;
  if (!gap) return [];
  const how = gap > 0 ? "longer" : "shorter";
  const line = `${counted(Math.abs(gap), "word")} ${how}`;
  const named = Math.abs(gap) >= Math.max(5, 0.2 * a.words);
  return [{ key: named ? how : "", line, one: `gives ${how} answers`, more: `give ${how} answers` }];
}
/**
 * What the second answer has that the first has not; the key of what is too small to be named in a sentence is empty.
 * @param {string} first
 * @param {string} second
 * @returns {Change[]}
 */
export function changes(first, second) {
  const [a, b] = [traitsOf(first), traitsOf(second)];
  return [...lengthChange(a, b), ...aiChange(a, b), ...emojiChange(a, b), ...personChange(a, b)];
}
/** The same in a line. @param {string} first @param {string} second */
export const line = (first, second) => changes(first, second).map((change) => change.line);

/** @param {string[]} parts */
const listed = (parts) => (parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`);

/**
 * One sentence on what DPO changed in the answers of some models.
 * @param {{ name: string, base: string, tuned: string }[]} rows
 */
export function sentence(rows) {
  const found = rows.map(({ name, base, tuned }) => ({ name, all: changes(base, tuned).filter(({ key }) => key) }));
  const shared = found[0].all.filter(({ key }) => found.every(({ all }) => all.some((other) => other.key === key)));
  const names = rows.map(({ name }) => name);
  const parts = [];
  if (shared.length) {
    const who = names.length === 1 ? names[0] : names.length === 2 ? "both models" : "all models";
    parts.push(`${who} ${listed(shared.map(({ one, more }) => (names.length === 1 ? one : more)))}`);
  } else {
    for (const { name, all } of found) if (all.length) parts.push(`${name} ${listed(all.map(({ one }) => one))}`);
  }
  if (!parts.length) parts.push(`${listed(names)} choose other words, and nothing that is counted here changes`);
  return `Same question, same noise: after DPO ${parts.join("; ")}.`;
}
