// @ts-check
/* Compare: the table of many prompts, and its files. */
import { $, make, makeButton, scrollable, stat } from "../lib/dom.js";
import { glyph } from "../lib/families.js";
import { csvCell, signed } from "../lib/format.js";
import { words } from "../lib/diff.js";
import { mark } from "../compare/marks.js";
import { about } from "../compare/state.js";
import { line, traitsOf } from "../compare/summary.js";

/**
 * @typedef {import("./many.js").Table} Table
 * @typedef {import("./many.js").Row} Row
 * @typedef {import("./many.js").Cell} Cell
 */

/** The column that stands in the same row of panes; null where there is none. @param {Table} table
 * @param {number} place */
function partner({ panes }, place) {
  const other = panes.indexOf(panes[place] ^ 1);
  return other < 0 ? null : other;
}
/** @param {Table} table @param {number} place */
function nameOf({ policies, lambdas }, place) {
  const policy = about(policies[place]);
  return policy.label + (lambdas[place] === 1 ? "" : ` λ ${lambdas[place].toFixed(2)}`);
}
/** What the second answer of a pair has that the first has not. @param {Table} table @param {Row} row
 * @param {number} place */
function differs(table, row, place) {
  const other = partner(table, place);
  if (other === null || table.panes[place] % 2 === 0) return [];
  const [first, second] = [row.cells[other], row.cells[place]];
  return first.end && second.end ? line(first.text, second.text) : [];
}
/** @param {Table} table @param {Row} row @param {number} place */
function textOf(table, row, place) {
  const cell = row.cells[place];
  const other = partner(table, place);
  if (table.mode !== "diff" || other === null || !cell.end || !row.cells[other].end) return [cell.text];
  const right = table.panes[place] % 2;
  const pair = right ? [row.cells[other].text, cell.text] : [cell.text, row.cells[other].text];
  return mark(words(pair[0], pair[1])[right], right ? "new" : "gone");
}
/** @param {Table} table @param {Row} row @param {number} place */
function drawCell(table, row, place) {
  const cell = row.cells[place];
  const { family } = about(table.policies[place]);
  const node = make("td", `many-cell pane ${family || "other"}`);
  const failed = cell.failed || row.failed;
  if (failed && !cell.text) {
    node.append(make("p", "error-line", failed));
    return node;
  }
  if (!cell.text && !cell.end) {
    node.append(make("span", "sub", "waiting"));
    return node;
  }
  const facts = [stat(String(cell.tokens), "tokens")];
  if (cell.end === "length") facts.push(make("span", "stat", "cut"));
  if (cell.end === "cancelled" || !cell.end) facts.push(make("span", "stat", "stopped"));
  if (cell.look) {
    const sign = cell.look.reward < 0 ? "reward neg" : "reward";
    facts.push(stat(signed(cell.look.reward_per_token, 3), "reward / token", sign));
  }
  const out = make("p", "out", ...textOf(table, row, place));
  scrollable(out);
  node.append(out, make("p", "chips", ...facts));
  const says = differs(table, row, place);
  if (says.length) node.append(make("p", "sub", says.join(" · ")));
  return node;
}
/** @param {Table} table @param {Row} row */
function rowOf(table, row) {
  const place = String(table.rows.indexOf(row));
  const open = makeButton("ex", "Open");
  open.dataset.manyRow = place;
  open.setAttribute("aria-label", `Open ${row.prompt}`);
  const head = make("th", { scope: "row" }, make("p", "", row.prompt), open);
  const node = make("tr", "", head, ...row.cells.map((_, column) => drawCell(table, row, column)));
  node.id = `cmp-many-row-${place}`;
  return node;
}
/** What a policy's answers are like on the whole. @param {Table} table @param {number} place */
function mean(table, place) {
  const cells = table.rows.map((row) => row.cells[place]).filter((cell) => cell.end && cell.end !== "cancelled");
  if (!cells.length) return "";
  const traits = cells.map((cell) => traitsOf(cell.text));
  const share = /** @param {"emoji" | "speaks_of_ai"} name */ (name) =>
    Math.round((100 * traits.filter((trait) => trait[name]).length) / traits.length);
  const length = Math.round(traits.reduce((sum, trait) => sum + trait.words, 0) / traits.length);
  const cut = cells.filter((cell) => cell.end === "length").length;
  const parts = [`${length} words`, `emoji ${share("emoji")}%`, `AI ${share("speaks_of_ai")}%`, `${cut} cut`];
  return parts.join(" · ");
}
/** The whole table. @param {Table} table */
export function drawTable(table) {
  const heads = table.policies.map((value, place) => {
    const { family, tuned } = about(value);
    return make("th", { scope: "col" }, make("span", "policy", glyph(family ?? null, tuned), nameOf(table, place)));
  });
  const count = make("th", { scope: "col" }, make("span", "sub", `${table.rows.length} prompts`));
  const total = make(
    "tr",
    "many-all",
    make("th", { scope: "row" }, "All", make("span", "sub", " mean words, share of answers")),
    ...table.policies.map((_, place) => make("td", "num", mean(table, place))),
  );
  const body = make("tbody", "", total, ...table.rows.map((row) => rowOf(table, row)));
  const caption = make("caption", "vh", "Answers by prompt and policy");
  $("cmp-many-table").replaceChildren(
    make("table", "", caption, make("thead", "", make("tr", "", count, ...heads)), body),
  );
}
/** One row anew. @param {Table} table @param {Row} row */
export function drawRow(table, row) {
  $(`cmp-many-row-${table.rows.indexOf(row)}`)?.replaceWith(rowOf(table, row));
}

/** A line for each prompt and policy. @param {Table} table */
function records(table) {
  return table.rows.flatMap((row) =>
    row.cells.map((cell, place) => ({
      prompt: row.prompt,
      policy: table.policies[place],
      lambda: table.lambdas[place],
      text: cell.text,
      tokens: cell.tokens,
      end: cell.end ?? "",
      reward: cell.look?.reward ?? null,
      reward_per_token: cell.look?.reward_per_token ?? null,
      differs: differs(table, row, place).join("; "),
      error: cell.failed || row.failed || "",
      ...table.settings,
      same_noise: table.same_noise,
    })),
  );
}
/** @param {Table} table */
export function csv(table) {
  const lines = records(table);
  const head = Object.keys(lines[0] || {});
  const rows = lines.map((record) => Object.values(record).map(csvCell).join(","));
  return `${[head.join(","), ...rows].join("\r\n")}\r\n`;
}
/** @param {Table} table */
export const jsonl = (table) =>
  records(table)
    .map((record) => `${JSON.stringify(record)}\n`)
    .join("");
