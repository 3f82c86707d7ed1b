// @ts-check
/* Runs: a sweep's form as the YAML text that `dpo sweep` reads. */

/**
 * A line of the form: a setting's name, and what stands beside it.
 * @typedef {{name: string, value: string}} Line
 * @typedef {{name: string, method: string, trials: string, measure: string, pruning: string, seed: string,
 *   search: Line[], settings: Line[]}} Form
 */

const RANGE = /^(\S+)\s+to\s+(\S+?)(?:\s+by\s+(\S+?))?(\s+log)?$/;
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const WORDS = new Set(["true", "false", "null"]);

/**
 * One value: numbers, true, false and lists as they are, all else as text.
 * @param {string} written
 */
function scalar(written) {
  const text = written.trim();
  if (NUMBER.test(text) || WORDS.has(text)) return text;
  return /^[[{"'].*[\]}"']$/.test(text) ? text : JSON.stringify(text);
}

/**
 * Values with commas between them; a comma within brackets or quotes parts nothing.
 * @param {string} text
 */
export function values(text) {
  const parts = text.match(/(\[[^\]]*\]|"[^"]*"|'[^']*'|[^,])+/g) || [];
  return parts.map((part) => part.trim()).filter(Boolean);
}

/**
 * What a setting is searched over: `1e-5 to 1e-3 log`, `0 to 0.2 by 0.05`, or values with commas between them.
 * @param {string} text
 */
export function dimension(text) {
  const range = RANGE.exec(text.trim());
  if (!range) return `[${values(text).map(scalar).join(", ")}]`;
  const [, low, high, step, log] = range;
  const more = (step ? `, step: ${scalar(step)}` : "") + (log ? ", log: true" : "");
  return `{low: ${scalar(low)}, high: ${scalar(high)}${more}}`;
}

/** @param {Form} form */
export function planText(form) {
  const lines = [`name: ${scalar(form.name)}`, `method: ${form.method}`];
  if (form.method !== "grid" && form.trials.trim()) lines.push(`trials: ${scalar(form.trials)}`);
  lines.push(`measure: ${form.measure}`, `pruning: ${form.pruning}`, `seed: ${scalar(form.seed || "0")}`);
  const written = (/** @type {Line[]} */ rows) => rows.filter(({ name }) => name.trim());
  const settings = written(form.settings);
  if (settings.length) lines.push("settings:");
  for (const { name, value } of settings) lines.push(`  ${name.trim()}: ${scalar(value || "null")}`);
  lines.push("search:");
  for (const { name, value } of written(form.search)) lines.push(`  ${name.trim()}: ${dimension(value)}`);
  return lines.join("\n") + "\n";
}
