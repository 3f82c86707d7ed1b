// @ts-check
/* Numbers and texts as people read them, and as a shell or a spreadsheet does. */

/**
 * A number with its sign; what rounds to nothing has none.
 * @param {number} value
 * @param {number} [digits]
 */
export function signed(value, digits = 2) {
  const size = Math.abs(value).toFixed(digits);
  if (Number(size) === 0) return size;
  return (value < 0 ? "−" : "+") + size;
}
/**
 * A number with a true minus.
 * @param {number} value
 * @param {number} [digits]
 */
export const plain = (value, digits = 2) => value.toFixed(digits).replace("-", "−");
/**
 * A share of one as percent.
 * @param {number} share
 * @param {number} [digits]
 */
export const percent = (share, digits = 0) => (100 * share).toFixed(digits) + "%";
/**
 * A number of few digits; small ones by their power of ten.
 * @param {number} value
 * @param {number} digits
 * @param {number} [smallDigits] digits of small ones
 */
export function compact(value, digits, smallDigits = digits) {
  const small = value !== 0 && Math.abs(value) < 1e-3;
  return small ? (+value.toPrecision(smallDigits)).toExponential() : String(+value.toPrecision(digits));
}
/**
 * A time in the unit that suits it.
 * @param {number} seconds
 */
export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
/**
 * How many there are of something.
 * @param {number} count
 * @param {string} one
 * @param {string} [more]
 */
export const counted = (count, one, more = `${one}s`) => `${count} ${count === 1 ? one : more}`;
/**
 * A text whose blanks can be seen.
 * @param {string} text
 */
export const visible = (text) => text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replace(/^ /, "␣") || "␣";
/**
 * A text in quotes of a shell.
 * @param {string} text
 */
export const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
/**
 * A word of a shell, in quotes where it needs them.
 * @param {string} text
 */
export const quote = (text) => (/^[\w./@-]+$/.test(text) ? text : quoted(text));
/**
 * A cell as CSV has it. What begins like a formula would be run by a spreadsheet: an apostrophe makes it text.
 * @param {unknown} value
 */
export function csvCell(value) {
  if (typeof value !== "string") return String(value ?? "");
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
/**
 * How much of a text's four-word groups was there before, from 0 to 1.
 * @param {string} text
 */
export function repetition(text) {
  const words = text.split(/\s+/).filter(Boolean);
  const groups = words.slice(3).map((_, i) => words.slice(i, i + 4).join(" "));
  return groups.length ? 1 - new Set(groups).size / groups.length : 0;
}
