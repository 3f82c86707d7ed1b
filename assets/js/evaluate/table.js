// @ts-check
/* Evaluate: the table of prompts, a page of it at a time, and the answers under a prompt that is open. */
import { $, all, button, closest, field, make, makeButton, plainKey, visit } from "../lib/dom.js";
import { words } from "../lib/diff.js";
import { glyph } from "../lib/families.js";
import { counted, signed } from "../lib/format.js";
import { getJson, messageOf } from "../lib/http.js";
import { filters, select, strip } from "./rows.js";
import { by, onPage, remember, screen } from "./state.js";

/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./rows.js").Unit} Unit */

const PAGE = 12;
const LETTERS = /** @type {Record<string, string>} */ ({ t: "–", "-": "×", "": "·" });
/** @type {Row[]} what is listed, over all pages */
let listed = [];

/** @param {string} policy */
const named = (policy) =>
  screen.view.policies.find((/** @type {{ policy: string }} */ one) => one.policy === policy) || {
    policy,
    label: policy,
    family: null,
    tuned: true,
  };
const comparisons = () =>
  /** @type {[string, string][]} */ (screen.view.comparisons).map(([policy, against]) => ({
    policy: named(policy),
    against: named(against),
  }));

/** @param {string} letter @param {any} policy @param {any} against */
function saysOf(letter, policy, against) {
  return (
    { a: policy.label, b: against.label, t: "tie", "-": "no valid verdict" }[/** @type {string} */ (letter)] ||
    "not asked"
  );
}
/** @param {Unit} unit @param {any} policy @param {any} against */
function stripOf(unit, policy, against) {
  const cells = strip(unit, by());
  const node = make("span", "ev-strip");
  for (const { letter, first } of cells) {
    const cell = make("i", `cell${first ? " first" : ""}`);
    if (letter === "a") cell.append(glyph(policy.family, true));
    else if (letter === "b") cell.append(glyph(policy.family, false));
    else cell.append(LETTERS[letter] ?? "·");
    node.append(cell);
  }
  node.setAttribute("role", "img");
  const says = cells.map((cell) => `${cell.says}: ${saysOf(cell.letter, policy, against)}`).join(", ");
  node.setAttribute("aria-label", says);
  node.title = says;
  return node;
}
/** @param {number | null} longer */
const length = (longer) => (longer === null ? "–" : longer === 0 ? "0" : signed(longer, 0));

/** @param {Row} row */
function compareLink(row) {
  const query = new URLSearchParams({ prompt: row.prompt, temperature: String(screen.view.temperature) });
  for (const { policy, against } of comparisons().slice(0, 2)) {
    query.append("policy", against.policy);
    query.append("policy", policy.policy);
  }
  return `/?${query}`;
}
/** The first comparison's two answers, token by token. @param {Row} row */
function lensLink(row) {
  const [{ policy, against }] = comparisons();
  const [a, b] = [policy, against].map((one) => row.answers[screen.view.policies.indexOf(one)] || "");
  return `/lens?${new URLSearchParams({ policy: policy.policy, prompt: row.prompt, a: a || b, b: a && b })}`;
}
/** @param {string} text @param {string} href @param {Row} row */
function link(text, href, row) {
  const node = make("a", { className: "js-nav jump", href, textContent: text });
  node.setAttribute("aria-label", `${text}: ${row.prompt}`);
  return node;
}
/** @param {Row} row */
function line(row) {
  const open = screen.asked.open === row.at;
  const opener = makeButton("ev-open", row.prompt, () => toggle(row));
  opener.setAttribute("aria-expanded", String(open));
  const node = make("tr", open ? "open" : "", make("th", { scope: "row" }, opener));
  node.dataset.at = String(row.at);
  node.append(make("td", "sub ev-slice-name", row.slices.join(", ")));
  comparisons().forEach(({ policy, against }, place) => {
    const unit = row.units[place];
    node.append(make("td", "", stripOf(unit, policy, against)), make("td", "num", length(unit.longer)));
  });
  const lens = link("Lens", lensLink(row), row);
  lens.classList.add("ev-lens");
  node.append(make("td", "ev-links", link("Compare", compareLink(row), row), lens));
  return node;
}
function head() {
  const cells = ["Prompt", "Slice"].map((textContent) => make("th", { scope: "col", textContent }));
  for (const { policy, against } of comparisons()) {
    const who = make("span", "policy", glyph(policy.family, true), policy.label);
    cells.push(make("th", { scope: "col" }, who, make("span", "sub", ` against ${against.label}`)));
    cells.push(make("th", { scope: "col", className: "num", textContent: "Words" }));
  }
  cells.push(make("th", { scope: "col" }, make("span", "vh", "Open elsewhere")));
  return make("thead", "", make("tr", "", ...cells));
}

/* ---- the answers of a row ---- */
/** @param {any} policy @param {any} answer @param {[string, boolean][]} parts @param {string} mark */
function answerBox(policy, answer, parts, mark) {
  const text = make("p", "out small");
  for (const [word, own] of parts) text.append(own ? make("span", mark, word) : word);
  const title = make("h3", "policy", glyph(policy.family, policy.tuned), policy.label);
  const about = make("span", "sub num", counted(answer.words, "word") + (answer.ended === "length" ? ", cut" : ""));
  return make("div", `pane ${policy.family || "other"}`, make("div", "row tight", title, about), text);
}
/** @param {any} one what a judge said @param {any} policy @param {any} against */
function sentence(one, policy, against) {
  const judge = screen.view.judges[one.judge];
  if (one.votes) {
    const who = /** @type {Record<string, string>} */ ({ a: policy.label, b: against.label, bad: "both bad" });
    const votes = Object.entries(one.votes).map(([word, count]) => `${who[word] || word} ${count}`);
    return `${judge.label}: ${votes.join(", ")}`;
  }
  const order = one.order ? `, ${one.order === "ab" ? policy.label : against.label} shown first` : "";
  const letter = one.verdict === "tie" ? "t" : one.verdict === "invalid" ? "-" : one.verdict;
  const scores = one.scores ? ` (${one.scores.map((/** @type {number} */ s) => signed(s)).join(" and ")})` : "";
  const raw = one.raw ? `: “${one.raw.slice(0, 600)}”` : "";
  return `${judge.label}${order}: ${saysOf(letter, policy, against)}${scores}${raw}`;
}
/** @param {any} found */
function detail(found) {
  const parts = comparisons().map(({ policy, against }, place) => {
    const [own] = found.answers[policy.policy] || [];
    const [other] = found.answers[against.policy] || [];
    if (!own || !other) return make("p", "sub", `${policy.label} or ${against.label} gave no answer to this prompt.`);
    const [left, right] = words(other.text, own.text);
    const said = found.said[place].map((/** @type {any} */ one) => make("li", "", sentence(one, policy, against)));
    return make(
      "div",
      "ev-duel",
      make("div", "ev-pair", answerBox(against, other, left, "gone"), answerBox(policy, own, right, "new")),
      make("ul", "plain sub", ...said),
    );
  });
  return make("div", "ev-detail", ...parts);
}
/** Fetch and show the answers under the row that is open. */
async function showOpen() {
  const { open, evaluation } = screen.asked;
  const row = document.querySelector(`#ev-rows tr[data-at="${open}"]`);
  if (open === null || !row) return;
  const cell = make("td", { colSpan: row.children.length }, make("p", "sub", "Reading the answers"));
  row.after(make("tr", "ev-answers", cell));
  const query = new URLSearchParams({ evaluation, at: String(open), temperature: String(screen.view.temperature) });
  try {
    const found = await getJson(`/api/evaluations/answers?${query}`);
    if (screen.asked.open === open) cell.replaceChildren(detail(found));
  } catch (error) {
    cell.replaceChildren(make("p", "error-line", messageOf(error)));
  }
}
/** @param {Row} row */
function toggle(row) {
  screen.asked.open = screen.asked.open === row.at ? null : row.at;
  draw();
  openerOf(row.at)?.focus();
}
/** @param {number | string | undefined} at */
const openerOf = (at) =>
  /** @type {HTMLElement | null} */ (document.querySelector(`#ev-rows tr[data-at="${at}"] .ev-open`));

/* ---- what is listed ---- */
/** @param {Partial<typeof screen.asked>} changed */
function ask(changed) {
  Object.assign(screen.asked, { page: 1, open: null }, changed);
  list();
}
function drawFilters() {
  const { filter, slice } = screen.asked;
  const chips = filters(screen.rows, by()).map(({ key, label, count }) => {
    const chip = makeButton("ex", `${label} `, () => ask({ filter: key }));
    chip.append(make("b", "num", String(count)));
    chip.setAttribute("aria-pressed", String(filter === key));
    return chip;
  });
  const names = [...new Set(screen.rows.flatMap((row) => row.slices))].sort();
  const choose = make("select", { className: "ev-select", ariaLabel: "Slice" });
  choose.append(new Option("Slice: all", ""), ...names.map((name) => new Option(name, name)));
  choose.value = slice;
  choose.addEventListener("change", () => ask({ slice: choose.value }));
  $("ev-filters").replaceChildren(...chips, choose);
}
/** Filter, and draw the page that is looked at. */
export function list() {
  const started = performance.now();
  listed = select(screen.rows, by(), screen.asked);
  drawFilters();
  draw();
  performance.measure("evaluate-filter", { start: started });
}
/** The answers have come: what is searched for may be in them, and the links to the Lens take them along. */
export function answered() {
  if (screen.asked.text.trim()) return list();
  for (const node of all("#ev-rows tr[data-at]")) {
    const row = listed.find(({ at }) => String(at) === node.dataset.at);
    const lens = /** @type {HTMLAnchorElement | null} */ (node.querySelector(".ev-lens"));
    if (row && lens) lens.href = lensLink(row);
  }
}
/** Draw the page of the table that is looked at. */
export function draw() {
  const pages = Math.max(1, Math.ceil(listed.length / PAGE));
  screen.asked.page = Math.min(screen.asked.page, pages);
  const start = (screen.asked.page - 1) * PAGE;
  const shown = listed.slice(start, start + PAGE);
  const table = make("table", "ev-prompts", head(), make("tbody", "", ...shown.map(line)));
  $("ev-rows").replaceChildren(shown.length ? table : make("p", "sub ev-note", "No prompt is like that."));
  const range = `${start + 1} to ${start + shown.length} of ${listed.length}`;
  $("ev-count").textContent = shown.length ? range : "0 prompts";
  button("ev-previous").disabled = screen.asked.page <= 1;
  button("ev-next").disabled = screen.asked.page >= pages;
  remember();
  showOpen();
}
/** @param {number} step */
function turn(step) {
  Object.assign(screen.asked, { page: screen.asked.page + step, open: null });
  draw();
}
/** To the next or the last prompt. @param {number} step */
function move(step) {
  const openers = all("#ev-rows .ev-open");
  const here = document.activeElement?.closest("tr")?.querySelector(".ev-open");
  const at = openers.indexOf(/** @type {HTMLElement} */ (here));
  openers[at < 0 ? 0 : Math.min(Math.max(at + step, 0), openers.length - 1)]?.focus();
}

document.addEventListener("click", (event) => {
  if (closest(event, "#ev-previous")) turn(-1);
  if (closest(event, "#ev-next")) turn(1);
});
document.addEventListener("input", (event) => {
  if (closest(event, "#ev-search")) ask({ text: field("ev-search").value });
});
document.addEventListener("keydown", (event) => {
  if (!onPage() || !plainKey(event) || !listed.length) return;
  if (event.key === "j") move(1);
  if (event.key === "k") move(-1);
  const at = document.activeElement?.closest("#ev-rows tr")?.getAttribute("data-at");
  const row = at && listed.find((one) => String(one.at) === at);
  if (!row || event.repeat) return;
  if (event.key === "c") visit(compareLink(row));
  if (event.key === "l") visit(lensLink(row));
});
