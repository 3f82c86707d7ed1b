// @ts-check
/* The command palette (Ctrl K or Cmd K): pages, runs, policies, settings and help, found by a few letters. */
import { all, find, make, visit } from "../lib/dom.js";
import { getJson } from "../lib/http.js";
import { ranked } from "./fuzzy.js";

const MOST = 12;
/** @typedef {{ kind: string, text: string, act: () => void }} Item */
/** @type {Item[]} */
let items = [];
/** @type {Item[]} the ones shown, the best first */
let shown = [];
let at = 0;

const input = make("input", { type: "text", id: "palette-text", autocomplete: "off", spellcheck: false });
input.placeholder = "Go to a page, a run, a policy, a setting";
const list = make("ul", { id: "palette-list", role: "listbox", ariaLabel: "Commands" });
const none = make("p", { className: "sub", hidden: true, textContent: "Nothing has these letters." });
none.setAttribute("role", "status");
const dialog = make("dialog", { className: "palette", ariaLabel: "Command palette" }, input, list, none);
for (const [name, value] of Object.entries({
  role: "combobox",
  "aria-label": "Search commands",
  "aria-controls": list.id,
  "aria-expanded": "true",
  "aria-autocomplete": "list",
}))
  input.setAttribute(name, value);
document.body.append(dialog);

/** What this page itself offers: nothing is asked of the server. @returns {Item[]} */
function own() {
  const pages = all(".navigation .nav-item").map((link) => ({
    kind: "Page",
    text: link.textContent || "",
    act: () => link.click(),
  }));
  const press = (/** @type {string} */ id) => () => find(id)?.click();
  return [
    ...pages,
    { kind: "Setting", text: "Switch between light and dark", act: press("theme-switch") },
    { kind: "Help", text: "Shortcuts", act: press("open-help") },
  ];
}
async function open() {
  if (dialog.open) return;
  items = own();
  input.value = "";
  dialog.showModal();
  draw();
  try {
    /** @type {{ kind: string, text: string, href: string }[]} */
    const found = await getJson("/api/commands");
    items = [...own(), ...found.map(({ kind, text, href }) => ({ kind, text, act: () => visit(href) }))];
    draw();
  } catch {
    // Pages, settings and help are offered all the same; that the server is gone is said by its banner.
  }
}
function draw() {
  shown = ranked(input.value, items, MOST);
  list.replaceChildren(
    ...shown.map((item, place) => {
      const option = make("li", { id: `palette-${place}`, role: "option" }, item.text, make("span", "sub", item.kind));
      option.addEventListener("click", () => choose(place));
      return option;
    }),
  );
  none.hidden = shown.length > 0;
  mark(0);
}
/** @param {number} place */
function mark(place) {
  at = shown.length ? (place + shown.length) % shown.length : 0;
  [...list.children].forEach((option, index) => option.setAttribute("aria-selected", String(index === at)));
  const marked = list.children[at];
  if (marked) input.setAttribute("aria-activedescendant", marked.id);
  else input.removeAttribute("aria-activedescendant");
  marked?.scrollIntoView({ block: "nearest" });
}
/** @param {number} place */
function choose(place) {
  const item = shown[place];
  if (!item) return;
  dialog.close();
  item.act();
}
/** @type {Record<string, () => void>} */
const KEYS = {
  ArrowDown: () => mark(at + 1),
  ArrowUp: () => mark(at - 1),
  Enter: () => choose(at),
};
input.addEventListener("input", draw);
dialog.addEventListener("keydown", (event) => {
  // The page below hears of no key, nor of the Escape that the dialog closes at by itself.
  event.stopPropagation();
  const act = KEYS[event.key];
  if (!act || event.isComposing) return;
  event.preventDefault();
  act();
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // the backdrop
});
/** Open it, or close it where it is open. */
export function toggle() {
  if (dialog.open) dialog.close();
  else open();
}
