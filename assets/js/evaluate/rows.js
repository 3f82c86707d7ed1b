// @ts-check
/* Evaluate: which prompts are listed, and in which order: pure, on rows that came with the page. */

/**
 * @typedef {object} Unit one comparison's verdicts on a prompt
 * @property {string[]} strips by judge, a letter for each order: a won, b lost, t tied, - no valid verdict
 * @property {(number | null)[]} worths by judge, what the policy won from 0 to 1
 * @property {number | null} longer words that the policy's answer has more
 *
 * @typedef {object} Row
 * @property {number} at its place in the evaluation
 * @property {string} prompt
 * @property {(string | null)[]} answers the first ones by policy; none until they have come
 * @property {string[]} slices
 * @property {Unit[]} units by comparison
 *
 * @typedef {object} Judge
 * @property {string} name
 * @property {string} label
 * @property {string} kind
 * @property {number} orders
 *
 * @typedef {object} Choice
 * @property {string} key
 * @property {string} label
 * @property {number} count
 *
 * @typedef {{ judge: number, judges: Judge[] }} By whose verdicts count, and all judges
 */

const LONGEST = 20;

/** @param {Row} row @param {number} judge */
const worths = (row, judge) => row.units.map((unit) => unit.worths[judge]);
/** @param {Row} row @param {number} judge */
const lost = (row, judge) => worths(row, judge).filter((worth) => worth !== null && worth < 0.5).length;
/** @param {Row} row @param {number} judge */
const won = (row, judge) => worths(row, judge).some((worth) => worth !== null && worth > 0.5);
/** How much was lost of all that was judged, from 0 to 1. @param {Row} row @param {number} judge */
function loss(row, judge) {
  const known = /** @type {number[]} */ (worths(row, judge).filter((worth) => worth !== null));
  return known.length ? 1 - known.reduce((sum, worth) => sum + worth, 0) / known.length : -1;
}
/** The largest change of length. @param {Row} row */
const change = (row) => Math.max(-1, ...row.units.map(({ longer }) => (longer === null ? -1 : Math.abs(longer))));
/** Whether one verdict turned with the order of the answers. @param {Row} row @param {number} judge */
const flipped = (row, judge) =>
  row.units.some((unit) => unit.strips[judge].includes("a") && unit.strips[judge].includes("b"));
/** @param {number | null} one @param {number | null} other */
const apart = (one, other) => one !== null && other !== null && (one - 0.5) * (other - 0.5) < 0;
/**
 * Whether a judge of some kinds says the contrary.
 * @param {Row} row
 * @param {By} by
 * @param {(kind: string) => boolean} of
 */
const contradicted = (row, { judge, judges }, of) =>
  row.units.some(({ worths: all }) =>
    all.some((worth, place) => place !== judge && of(judges[place].kind) && apart(worth, all[judge])),
  );
const PEOPLE = /** @param {string} kind */ (kind) => kind === "people";
const MACHINES = /** @param {string} kind */ (kind) => kind !== "people" && kind !== "rule";

/** @typedef {{ key: string, label: (comparisons: number) => string, holds: (row: Row, by: By) => boolean }} Filter */
/** @type {Filter[]} */
const FILTERS = [
  { key: "all", label: () => "Regressions first", holds: () => true },
  {
    key: "lost",
    label: (many) => (many > 1 ? "Lost by either" : "Lost"),
    holds: (row, { judge }) => lost(row, judge) > 0,
  },
  { key: "lost-all", label: () => "Lost by all", holds: (row, { judge }) => lost(row, judge) === row.units.length },
  { key: "won", label: (many) => (many > 1 ? "Won by either" : "Won"), holds: (row, { judge }) => won(row, judge) },
  { key: "flipped", label: () => "Flipped with the order", holds: (row, { judge }) => flipped(row, judge) },
  { key: "disagree", label: () => "Judges disagree", holds: (row, by) => contradicted(row, by, MACHINES) },
  { key: "people", label: () => "People disagree", holds: (row, by) => contradicted(row, by, PEOPLE) },
  { key: "longest", label: () => "Longest change", holds: (row) => change(row) >= 0 },
];

/** Whether a filter says anything here. @param {string} key @param {By} by @param {number} comparisons */
function applies(key, { judge, judges }, comparisons) {
  const kinds = judges.filter((_, place) => place !== judge).map(({ kind }) => kind);
  const unfit = /** @type {Record<string, boolean>} */ ({
    "lost-all": comparisons < 2,
    flipped: judges[judge].orders < 2,
    disagree: !kinds.some(MACHINES),
    people: !kinds.some(PEOPLE),
  });
  return !unfit[key];
}

/**
 * The filters that apply, with how many prompts each would list.
 * @param {Row[]} rows
 * @param {By} by
 * @returns {Choice[]}
 */
export function filters(rows, by) {
  const comparisons = rows[0]?.units.length ?? 1;
  return FILTERS.filter(({ key }) => applies(key, by, comparisons)).map(({ key, label, holds }) => {
    const count = rows.filter((row) => holds(row, by)).length;
    return { key, label: label(comparisons), count: key === "longest" ? Math.min(LONGEST, count) : count };
  });
}

/**
 * The rows that are listed: by filter, slice and a text, those that were lost first, or the longest change.
 * @param {Row[]} rows
 * @param {By} by
 * @param {{ filter: string, slice: string, text: string }} wanted
 */
export function select(rows, by, { filter, slice, text }) {
  const { holds } = FILTERS.find(({ key }) => key === filter) ?? FILTERS[0];
  const words = text.trim().toLowerCase();
  const found = rows.filter(
    (row) =>
      holds(row, by) &&
      (!slice || row.slices.includes(slice)) &&
      (!words || [row.prompt, ...row.answers].some((one) => one?.toLowerCase().includes(words))),
  );
  if (filter === "longest") return found.sort((a, b) => change(b) - change(a) || a.at - b.at).slice(0, LONGEST);
  return found.sort((a, b) => loss(b, by.judge) - loss(a, by.judge) || a.at - b.at);
}

/**
 * The cells of a verdict strip: the judge's orders, then the other judges that are no rules.
 * @param {Unit} unit
 * @param {By} by
 * @returns {{ says: string, letter: string, first: boolean }[]} `first` where another judge begins
 */
export function strip(unit, { judge, judges }) {
  const orders = judges[judge].orders;
  const own = [...(unit.strips[judge] || "").padEnd(orders > 1 ? 2 : 1)].map((letter, place) => ({
    says: orders > 1 ? `order ${place + 1}` : judges[judge].label,
    letter: letter.trim(),
    first: place === 0,
  }));
  const others = judges.flatMap((other, place) => {
    if (place === judge || other.kind === "rule") return [];
    const worth = unit.worths[place];
    const letter = worth === null ? unit.strips[place].slice(0, 1) : worth > 0.5 ? "a" : worth < 0.5 ? "b" : "t";
    return [{ says: other.label, letter, first: true }];
  });
  return [...own, ...others];
}
