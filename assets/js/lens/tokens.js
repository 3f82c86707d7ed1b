// @ts-check
/* Lens: the coloured tokens, and the card of the selected one. */
import { $, all, find, make, makeButton, stat } from "../lib/dom.js";
import { glyph } from "../lib/families.js";
import { percent, plain, signed, visible } from "../lib/format.js";
import { leading, ratio } from "../lib/heat.js";
import { markStep, running } from "./running.js";
import { bin, lens, policy, sides, unitOf, view } from "./state.js";

/**
 * @typedef {import("./state.js").Look} Look
 * @typedef {import("./state.js").Place} Place
 * @typedef {import("./state.js").Result} Result
 * @typedef {import("./state.js").Token} Token
 */

/* ---- painting ---- */
export function draw() {
  $("lens-range").textContent = `± ${view.clamp.toFixed(1)} nat${view.unit === "token" ? "" : " per token"}`;
  if (!lens.results.length) return;
  const names = sides();
  $("lens-heats").replaceChildren(
    ...lens.results.flatMap((result, row) => {
      const heats = result.texts.map((look, text) => heat(result, row, look, text, names[text]));
      const cards = make("div", result.texts.length > 1 ? "grid g2" : "grid", ...heats);
      return lens.results.length === 1 ? [cards] : [rowHead(result), cards];
    }),
  );
  running();
  shifts();
}
/** @param {number} value @param {string} label @param {number} [digits] */
const rewardStat = (value, label, digits) => stat(signed(value, digits), label, value < 0 ? "reward neg" : "reward");
/** What stands above a policy's texts where two are compared. @param {Result} result */
function rowHead(result) {
  const [first, second] = result.texts;
  const margin = second ? rewardStat(first.reward_per_token - second.reward_per_token, "margin per token", 3) : null;
  return make(
    "div",
    "lens-row-head",
    make("span", "policy", glyph(result.family, true), result.label),
    make("span", "sub", `β = ${result.beta} · reference: ${result.reference}`),
    margin,
  );
}
/** A scored text. @param {Result} result @param {number} row @param {Look} look @param {number} text
 * @param {string} name */
function heat(result, row, look, text, name) {
  const pair = name === "chosen" || name === "rejected";
  const title = pair ? name : view.texts.length > 1 ? `Text ${name}` : "Text";
  const head = make(
    "div",
    "heat-head",
    make("span", `pill ${pair ? name : ""}`, title),
    stat(String(look.tokens.length), "tokens"),
    rewardStat(look.reward, "reward"),
    stat(signed(look.reward_per_token, 3), "per token"),
    stat(percent(look.shifts.shifted), "shifted"),
  );
  const box = make("div", { className: "heat", tabIndex: 0, id: `lens-heat-${row}-${text}` });
  Object.assign(box.dataset, { row, text });
  box.setAttribute("role", "listbox");
  box.setAttribute("aria-label", `${pair ? name : "text"} under ${result.label}: reward ${signed(look.reward)}`);
  look.units[view.unit].forEach((span, index) => {
    box.append(...unitNodes(look, span, `lens-tok-${row}-${text}-${index}`, index));
  });
  const cut = look.cut ? make("p", "sub heat-note", "Cut where training cut it.") : null;
  return make("section", "card heat-card", head, box, cut);
}
/** @param {Look} look @param {[number, number]} span @param {string} id @param {number} index */
function unitNodes(look, span, id, index) {
  const unit = unitOf(look, span);
  const [lead, body] = leading(unit.text);
  const [first] = unit.tokens;
  const node = make("span", { className: `tok ${bin(unit.mean)}`, id });
  node.dataset.unit = String(index);
  node.setAttribute("role", "option");
  node.setAttribute("aria-selected", "false");
  node.setAttribute("aria-label", `${body || (first.text ? "blank" : "end of text")}, ${signed(unit.sum)} nat`);
  if (body) {
    node.textContent = body;
    return [lead, node];
  }
  // Blanks and the end of the text would be invisible: they get a sign of their own.
  node.classList.add("sign");
  const sign = first.id === look.tokens.at(-1)?.id ? "end" : first.piece;
  node.textContent = unit.text ? visible(unit.text) : sign;
  return [node, lead.includes("\n") ? lead : ""];
}
/** How often the policy's first choice is another token. */
function shifts() {
  const tokens = lens.results[0].texts.flatMap((look) => look.tokens);
  const shares = ["unshifted", "marginal", "shifted"].map(
    (kind) => tokens.filter((token) => token.shift === kind).length / tokens.length,
  );
  [...$("lens-shift").children].forEach((child, i) => {
    const part = /** @type {HTMLElement} */ (child);
    part.style.flex = `0 0 calc(${percent(shares[i], 2)} - 2px)`;
    part.hidden = shares[i] === 0;
  });
  const labels = ["same top token", "in its top 3", "new choice"];
  $("lens-shift-text").replaceChildren(...labels.map((label, i) => stat(percent(shares[i]), label)));
}

/* ---- the selected unit ---- */
/** @param {Place | null} place @param {boolean} [scroll] */
export function select(place, scroll = false) {
  for (const node of all(".tok.sel")) {
    node.classList.remove("sel", "pinned");
    node.setAttribute("aria-selected", "false");
  }
  lens.selected = place;
  const node = place && find(`lens-tok-${place.row}-${place.text}-${place.unit}`);
  if (!place || !node) return;
  node.classList.add("sel");
  node.classList.toggle("pinned", lens.pinned);
  node.setAttribute("aria-selected", "true");
  node.parentElement?.setAttribute("aria-activedescendant", node.id);
  if (scroll) node.scrollIntoView({ block: "nearest" });
  tokenCard(place);
  markStep();
}
/** The token of a unit that moved most. @param {Token[]} tokens */
const strongest = (tokens) =>
  tokens.reduce((best, token) => (Math.abs(ratio(token)) > Math.abs(ratio(best)) ? token : best));
/** @param {Place} place @param {number | null} [inside] which of the unit's tokens; else the one that moved most */
function tokenCard(place, inside = null) {
  const result = lens.results[place.row];
  const look = result.texts[place.text];
  const unit = unitOf(look, look.units[view.unit][place.unit]);
  const several = unit.tokens.length > 1;
  const token = inside === null ? strongest(unit.tokens) : unit.tokens[inside];
  const where = several ? `Tokens ${unit.start + 1}–${unit.end}` : `Token ${unit.start + 1}`;
  const text = unit.text.trim() || (unit.text ? visible(unit.text) : "end of text");
  const blank = unit.text.startsWith(" ") && unit.text.trim() && view.unit === "token" ? "␣" : "";
  const top = make(
    "div",
    "tok-top",
    make("code", `bigtok ${bin(unit.mean)}`, blank + text),
    make(
      "div",
      "",
      make("div", "sub", `${where} of ${look.tokens.length}, ${sides()[place.text]}`),
      make("div", "tok-value", make("b", "num", signed(unit.sum)), make("span", "sub", "nat")),
      make("div", "sub num", `reward ${signed(result.beta * unit.sum, 3)}`),
    ),
  );
  const parts = unit.tokens.map((one, index) =>
    makeButton(one === token ? "on" : "", `${visible(one.text || one.piece)} ${signed(ratio(one))}`, () => {
      lens.pinned = true;
      tokenCard(place, index);
    }),
  );
  $("lens-token").className = "card tokcard";
  $("lens-token").replaceChildren(
    top,
    ...(several ? [make("div", "tok-parts", ...parts)] : []),
    comparison(result, token),
    make(
      "div",
      "top5",
      topFive(result, true, token.policy_top, token),
      topFive(result, false, token.reference_top, token),
    ),
    make(
      "div",
      "tok-keys",
      make("span", "sub", "← → token"),
      make("span", "sub", lens.pinned ? "Enter lets go" : "Enter pins"),
    ),
  );
}
/** What policy and reference gave a token. @param {Result} result @param {Token} token */
function comparison(result, token) {
  const trip = /** @param {"b" | "span"} tag @param {string[]} texts */ (tag, texts) =>
    make("div", tag === "span" ? "trip h" : "trip", ...texts.map((text) => make(tag, "", text)));
  const row = /** @param {boolean} tuned @param {number} logp @param {number} rank */ (tuned, logp, rank) =>
    make("div", "cmp", policy(result, tuned), trip("b", [plain(logp), String(rank), percent(Math.exp(logp), 1)]));
  return make(
    "div",
    "num cmpbox",
    trip("span", ["log-prob", "rank", "share"]),
    row(true, token.policy_logp, token.policy_rank),
    row(false, token.reference_logp, token.reference_rank),
  );
}
/** The likeliest tokens there. @param {Result} result @param {boolean} tuned
 * @param {import("./state.js").Candidate[]} candidates @param {Token} token */
function topFive(result, tuned, candidates, token) {
  const most = Math.max(...candidates.map((candidate) => candidate.share));
  const rows = candidates.map((candidate) => {
    const bar = make("div", tuned ? "bar" : "bar hollow");
    bar.style.width = percent(candidate.share / most, 1);
    bar.style.setProperty("--c", `var(--${result.family})`);
    return make(
      "div",
      candidate.text === token.piece ? "t5row hit" : "t5row",
      make("span", "tk mono", visible(candidate.text)),
      make("div", "", bar),
      make("span", "sub num", percent(candidate.share, 1)),
    );
  });
  return make("div", "", make("div", "t5head row tight", policy(result, tuned), make("span", "sub", "top 5")), ...rows);
}
