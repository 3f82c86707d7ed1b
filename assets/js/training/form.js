// @ts-check
/* Training: the form of a new run, made from the settings' definition. */
import { $, all, button, find, make } from "../lib/dom.js";
import { getJson, messageOf, postJson, Unreachable } from "../lib/http.js";

/**
 * @typedef {object} Field a setting
 * @property {string} name
 * @property {string} kind switch, choice, choices, text, texts, integer, number, numbers
 * @property {string} group
 * @property {string} flag
 * @property {string} help
 * @property {any} default
 * @property {string} usual what an open setting comes to
 * @property {boolean} first whether it stands above all others
 * @property {string[]} choices
 * @property {number | null} above
 * @property {number | null} low
 * @property {number | null} high
 *
 * @typedef {object} Form
 * @property {string} kind of training: dpo or sft
 * @property {string} [name] of the run
 * @property {string} [preset]
 * @property {Field[]} fields
 * @property {{ name: string, title: string, settings: Record<string, any> }[]} presets
 * @property {Record<string, string[]>} suggestions
 */

const KINDS = { dpo: "preferences (DPO)", sft: "answers (SFT)" };
/** @type {Form} */
let form;
/** @type {Record<string, any>} the settings, by name */
let values = {};
let checking = 0;

/* ---- messages ---- */
/** @param {string} text @param {boolean} [bad] */
export function notify(text, bad = false) {
  $("st-message").textContent = text;
  $("st-message").classList.toggle("bad", bad);
}
/** @param {unknown} error */
export const failed = (error) => notify(messageOf(error), true);
/** What is wrong with the settings: at the foot, and at the field that it is about. @param {string} text */
function problem(text) {
  $("st-problem").textContent = text;
  $("st-problem").hidden = !text;
  button("st-start").disabled = Boolean(text);
  for (const node of all("#st-fields [aria-invalid]")) {
    node.removeAttribute("aria-invalid");
    node.removeAttribute("aria-describedby");
  }
  all("#st-fields .field-error").forEach((node) => node.remove());
  if (text) markField(controlOf(text), text);
}
/** The control that an error names first, by its flag or as Python has it. @param {string} text */
function controlOf(text) {
  if (/^The run's name|give the run another name/.test(text)) return find("st-name");
  const named = form.fields
    .map(({ name, flag }) => ({ name, at: text.search(new RegExp(`(${flag}|\\b${name})(?![\\w-])`)) }))
    .filter(({ at }) => at >= 0)
    .sort((one, other) => one.at - other.at);
  return named.length ? find(`st-f-${named[0].name}`) : null;
}
/** @param {HTMLElement | null} node a control @param {string} text */
function markField(node, text) {
  const box = node?.closest(".st-field, label");
  if (!node || !box) return;
  const id = `${node.id}-error`;
  node.setAttribute("aria-invalid", "true");
  node.setAttribute("aria-describedby", id);
  const flag = `--${node.id.replace("st-f-", "").replaceAll("_", "-")}`;
  const own = box.querySelector(".st-name")?.textContent || flag; // a form has fields, and no flags
  box.append(make("span", { className: "field-error", id, textContent: text.replace(flag, own) }));
  const folded = /** @type {HTMLDetailsElement | null} */ (box.closest("details"));
  if (folded) folded.open = true;
}
/** Say what the server refused, where it belongs. @param {unknown} error */
export function refused(error) {
  if (error instanceof Unreachable) failed(error);
  else problem(messageOf(error));
}

/* ---- values ---- */
/** @param {unknown} a @param {unknown} b */
const same = (a, b) => JSON.stringify(a ?? null) === JSON.stringify(b ?? null);
/** @param {Field} field */
const changed = (field) => !same(values[field.name], field.default);
const settings = () => Object.fromEntries(form.fields.filter(changed).map((field) => [field.name, values[field.name]]));
/** What is asked for, as the server takes it. */
export const request = () => ({ kind: form.kind, settings: settings(), name: form.name || "" });
export const isReady = () => Boolean(form);
/** The next run has another name. */
export function clearName() {
  form.name = "";
  /** @type {HTMLInputElement} */ ($("st-name")).value = "";
}
/** What is no number is sent as it is: the server says what is wrong with it. @param {string} text */
const numberOf = (text) => (Number.isNaN(+text) ? text : +text);
/** What stands in a setting's control. @param {Field} field @param {any} node */
function read(field, node) {
  if (field.kind === "switch") return node.checked;
  if (field.kind === "choices") return [...node.selectedOptions].map((option) => option.value);
  const text = node.value.trim();
  if (text === "") return field.kind === "choice" ? null : field.default;
  if (field.kind === "texts") return text.split(/[\s,]+/);
  if (field.kind === "numbers") return text.split(/[\s,]+/).map(numberOf);
  return field.kind === "integer" || field.kind === "number" ? numberOf(text) : text;
}

/* ---- drawing ---- */
const TEXT = { type: "text", autocomplete: "off", spellcheck: false };
/** @param {string} value @param {string} textContent @param {boolean} selected */
const option = (value, textContent, selected) => make("option", { value, textContent, selected });
/** A value as people write it: 0.00015, without the last digits of its binary. @param {unknown} value */
const shown = (value) => (typeof value === "number" ? String(+value.toPrecision(12)) : String(value ?? ""));
/** @param {Field} field */
function control(field) {
  const id = `st-f-${field.name}`;
  const value = values[field.name];
  if (field.kind === "switch") return make("input", { type: "checkbox", id, checked: Boolean(value) });
  if (field.kind === "choice" || field.kind === "choices") {
    const multiple = field.kind === "choices";
    const on = /** @param {string} choice */ (choice) => (multiple ? (value || []).includes(choice) : value === choice);
    return make("select", { id, multiple }, ...field.choices.map((choice) => option(choice, choice, on(choice))));
  }
  const node = make("input", { ...TEXT, id, value: Array.isArray(value) ? value.map(shown).join(" ") : shown(value) });
  if (field.kind === "integer" || field.kind === "number") node.inputMode = "decimal";
  if (field.default === null) node.placeholder = field.usual || "by default";
  if (form.suggestions[field.name]) node.setAttribute("list", `st-list-${field.name}`);
  return node;
}
/** @param {Field} field */
function bounds({ above, low, high }) {
  const parts = [];
  if (above !== null) parts.push(`above ${above}`);
  if (low !== null) parts.push(`from ${low}`);
  if (high !== null) parts.push(`to ${high}`);
  return parts.length ? ` (${parts.join(", ")})` : "";
}
/** @param {Field} field */
function row(field) {
  const node = control(field);
  const words = field.name.replaceAll("_", " ");
  const title = words[0].toUpperCase() + words.slice(1);
  const box = make(
    "div",
    "st-field",
    make("label", { className: "st-name", htmlFor: node.id, textContent: title, title: field.flag }),
    node,
    make("span", "sub", field.help + bounds(field)),
  );
  box.dataset.words = `${words} ${field.flag} ${field.help}`.toLowerCase();
  const mark = () => box.classList.toggle("changed", changed(field));
  node.addEventListener("input", () => {
    values[field.name] = read(field, node);
    mark();
    checkLater();
  });
  mark();
  return box;
}
/** A control under its name. @param {string} text @param {HTMLElement} node */
const labelled = (text, node) => make("label", { className: "label", htmlFor: node.id }, text, node);
function topRow() {
  const kinds = Object.entries(KINDS).map(([value, text]) => option(value, text, value === form.kind));
  const method = make("select", { id: "st-kind" }, ...kinds);
  method.addEventListener("change", () => load(method.value, ""));
  const presets = form.presets.map((one) => option(one.name, one.title, one.name === form.preset));
  const preset = make("select", { id: "st-preset" }, option("", "Defaults", false), ...presets);
  preset.addEventListener("change", () => choose(preset.value));
  const placeholder = "by policy and time";
  const name = make("input", { ...TEXT, id: "st-name", placeholder, value: form.name || "" });
  name.addEventListener("input", () => {
    form.name = name.value;
    checkLater();
  });
  const words = make("input", { type: "search", id: "st-search", placeholder: "Search settings", value: "" });
  words.setAttribute("aria-label", "Search settings");
  words.addEventListener("input", () => search(words.value.trim().toLowerCase()));
  return make(
    "div",
    "st-top",
    labelled("Learn from", method),
    labelled("Preset", preset),
    labelled("Run name", name),
    make("div", "wide", words),
  );
}
/** @param {string} title @param {Field[]} fields @param {boolean} open */
function group(title, fields, open) {
  const count = fields.filter(changed).length;
  const hint = make("span", "sub", count ? `${count} changed` : `${fields.length} settings`);
  const node = make("details", { className: "st-group", open }, make("summary", "", title, hint), ...fields.map(row));
  node.dataset.group = title;
  return node;
}
function draw() {
  /** @type {Map<string, Field[]>} */
  const groups = new Map();
  const others = form.fields.filter((field) => !field.first);
  for (const field of others) groups.set(field.group, [...(groups.get(field.group) || []), field]);
  const opened = all(".st-group[open]").map((node) => node.dataset.group);
  const parts = [...groups].map(([title, fields]) => group(title, fields, opened.includes(title)));
  const first = form.fields.filter((field) => field.first).map(row);
  const lists = Object.entries(form.suggestions).map(([field, options]) =>
    make("datalist", { id: `st-list-${field}` }, ...options.map((value) => make("option", { value }))),
  );
  $("st-fields").replaceChildren(topRow(), make("div", "st-first", ...first), ...parts, ...lists);
  checkLater();
}
/** Show the settings that have all words. @param {string} words */
function search(words) {
  const has = /** @param {HTMLElement} box */ (box) =>
    words.split(/\s+/).every((word) => box.dataset.words?.includes(word));
  for (const box of all(".st-first .st-field")) box.hidden = !has(box);
  for (const node of /** @type {HTMLDetailsElement[]} */ (all(".st-group"))) {
    const rows = all(".st-field", node);
    for (const box of rows) box.hidden = !has(box);
    node.hidden = rows.every((box) => box.hidden);
    if (words) node.open = true;
  }
}
/** Begin from a preset, or from the defaults. @param {string} name */
export function choose(name) {
  const preset = form.presets.find((one) => one.name === name);
  form.preset = name;
  values = Object.fromEntries(form.fields.map((field) => [field.name, field.default]));
  Object.assign(values, preset?.settings);
  all(".st-group").forEach((node) => node.remove());
  draw();
}
/**
 * The form of a kind of training. Settings that both kinds have stay as they were given.
 * @param {string} kind
 * @param {string} preset
 */
export async function load(kind, preset) {
  try {
    const given = form ? settings() : {};
    const name = form?.name || "";
    form = await getJson(`/api/jobs/form?kind=${kind}`);
    form.name = name;
    choose(preset);
    if (preset) return;
    for (const field of form.fields) if (field.name in given) values[field.name] = given[field.name];
    draw();
  } catch (error) {
    failed(error);
  }
}

/**
 * The form of a run once more, with one setting changed, which is marked.
 * @param {{ kind: string, settings: Record<string, any>, name: string, changed: string }} again
 */
export async function fill({ kind, settings: given, name, changed: setting }) {
  await load(kind, "");
  values = Object.fromEntries(form.fields.map((field) => [field.name, field.default]));
  Object.assign(values, given);
  form.name = name;
  draw();
  const box = find(`st-f-${setting}`)?.closest(".st-field");
  const folded = /** @type {HTMLDetailsElement | null | undefined} */ (box?.closest("details"));
  if (folded) folded.open = true;
  box?.classList.add("fixed");
  find(`st-f-${setting}`)?.focus();
}

/* ---- checking: settings are validated as they are typed; data, time, memory and disk are looked at in a pause ---- */
let looking = 0;
function checkLater() {
  clearTimeout(checking);
  clearTimeout(looking);
  $("st-lines").replaceChildren();
  checking = setTimeout(() => check(false), 250);
  looking = setTimeout(() => check(true), 1200);
}
/** @param {boolean} look at data and disk too */
export async function check(look) {
  const asked = JSON.stringify(request());
  try {
    const found = await postJson("/api/jobs/check", { ...request(), look });
    if (asked !== JSON.stringify(request())) return;
    $("st-command").textContent = found.command;
    for (const [name, text] of Object.entries(found.usual)) {
      const node = find(`st-f-${name}`);
      if (node instanceof HTMLInputElement) node.placeholder = text;
    }
    if (!found.lines) {
      problem("");
      return;
    }
    const fault = found.lines.find((/** @type {Found} */ { level, topic }) => level === "fault" && OF_TOPIC[topic]);
    problem(fault ? fault.text : "");
    if (fault && !$("st-fields").querySelector("[aria-invalid]")) {
      markField(find(`st-f-${OF_TOPIC[fault.topic]}`), fault.text);
    }
    $("st-lines").replaceChildren(...found.lines.map(finding));
  } catch (error) {
    refused(error);
  }
}
/** @typedef {{ level: string, topic: string, text: string }} Found */
const FITS = ["Time", "Memory", "Disk"]; // whether it fits, before all else
/** @type {Record<string, string>} the setting that a finding is about, which must be mended before a start */
const OF_TOPIC = { Policy: "model", Data: "dataset", Lengths: "max_prompt_length" };
/** @type {Record<string, [icon: string, text: string]>} by level */
const SIGNS = { ok: ["check", "OK"], warning: ["warn", "Check"], fault: ["stop", "Problem"], note: ["help", "Note"] };
/** @param {Found} found */
function finding({ level, topic, text }) {
  const [icon, word] = SIGNS[level];
  const sign = make("span", { className: `i i-${icon}`, style: "width:14px;height:14px" });
  return make(
    "li",
    `${level}${FITS.includes(topic) ? " fit" : ""}`,
    make("span", "", sign, make("span", "vh", word)),
    make("b", "", topic),
    make("span", "", text),
  );
}
