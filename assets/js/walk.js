// @ts-check
/* A guided walk of six stops across the pages; it begins when it is asked for, and goes on where it was left. */
import { all, closest, find, make, makeButton, put, visit } from "./lib/dom.js";

/**
 * @typedef {object} Stop
 * @property {string} name
 * @property {() => string} address where it is
 * @property {string} shows selector of what it is about
 * @property {string} text
 */

const STORED = "dpo-walk";
/** Where a link of the page leads, if it is there. @param {string} id @param {string} otherwise */
const linked = (id, otherwise) => find(id)?.getAttribute("href") || otherwise;
/** @type {Stop[]} */
const STOPS = [
  {
    name: "Ask",
    address: () => "/",
    shows: ".question, .composer",
    text:
      "One question goes to four policies: two models, each as it was before DPO (Base) and " +
      "after. All draw with the same random numbers, so what differs comes from their weights.",
  },
  {
    name: "See the difference",
    address: () => "/",
    shows: "#cmp-row-0 .duo-head",
    text:
      "Word diff marks the words that only one of two answers has; the line above the panes " + "counts what changed.",
  },
  {
    name: "Why, token by token",
    address: () => linked("cmp-story-why", "/lens"),
    shows: "#page-lens .page-title > :first-child",
    text:
      "The Lens colours each token by how much likelier or unlikelier DPO made it: green was " +
      "pulled up, violet pushed down.",
  },
  {
    name: "How it was trained",
    address: () => linked("cmp-story-how", "/training"),
    shows: "#page-training .page-title > :first-child",
    text:
      "DPO widens the margin between the rewards of the chosen and the rejected answers. The " +
      "doctor says in words what the curves show.",
  },
  {
    name: "What the data taught",
    address: () => "/data",
    shows: "#page-data .page-title > :first-child",
    text:
      "A policy learns whatever the chosen answers have more of, wanted or not: an audit says " +
      "what that is before anything is trained.",
  },
  {
    name: "Train your own",
    address: () => "/training",
    shows: ".js-new-run",
    text:
      "New run trains on a file of pairs. Its curves are drawn as it goes, and its policy then " +
      "stands beside the others on Compare.",
  },
];

/** @type {HTMLElement | null} */
let card = null;
let place = 0;
/** @type {Element | null} what had the focus before */
let before = null;
/** @type {MutationObserver | null} */
let looking = null;

function remembered() {
  try {
    return Math.min(STOPS.length - 1, Math.max(0, Number(localStorage.getItem(STORED)) || 0));
  } catch {
    return 0;
  }
}
/** @param {number} stop */
function remember(stop) {
  try {
    localStorage.setItem(STORED, String(stop));
  } catch {
    // the walk then begins anew next time
  }
}
/** The first that can be seen. @param {string} selector */
const seen = (selector) => all(selector).find((node) => node.checkVisibility());
function unmark() {
  looking?.disconnect();
  for (const node of all(".walk-here")) node.classList.remove("walk-here");
}
/** Mark what a stop is about as soon as it is there. @param {string} selector */
function mark(selector) {
  unmark();
  const look = () => {
    const node = seen(selector);
    if (!node) return;
    looking?.disconnect();
    node.classList.add("walk-here");
    node.scrollIntoView({ block: "nearest" });
  };
  looking = new MutationObserver(look);
  looking.observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["hidden"] });
  look();
}
/** @param {number} to */
function go(to) {
  if (to >= STOPS.length) {
    leave();
    remember(0);
    return;
  }
  place = Math.max(0, to);
  remember(place);
  const stop = STOPS[place];
  const address = stop.address();
  if (location.pathname !== address.split("?")[0]) visit(address);
  draw();
  mark(stop.shows);
}
function draw() {
  if (!card) return;
  const { name, text } = STOPS[place];
  const stops = STOPS.map((stop, at) => {
    const step = makeButton("walk-stop", `${at + 1} ${stop.name}`, () => go(at));
    if (at === place) step.setAttribute("aria-current", "step");
    return make("li", "", step);
  });
  const last = place === STOPS.length - 1;
  const back = makeButton("ex", "Back", () => go(place - 1));
  back.disabled = place === 0;
  const title = make("b", { id: "walk-title" }, make("span", "vh", `Walk, ${place + 1} of ${STOPS.length}: `), name);
  card.replaceChildren(
    make("div", "walk-head", title, make("ol", "walk-stops", ...stops)),
    make("p", { id: "walk-text", className: "sub" }, text),
    make(
      "div",
      "row tight nowrap walk-acts",
      makeButton("ex", "Skip", leave),
      back,
      makeButton("ex on", last ? "Done" : "Next", () => go(place + 1)),
    ),
  );
  card.focus();
}
/** The help gives the focus back to its button when it has closed: it belongs here, until a key is pressed. */
function keepFocus() {
  const ends = new AbortController();
  const back = /** @param {Event} event */ (event) => closest(event, "#open-help") && card?.focus();
  document.addEventListener("focusin", back, { signal: ends.signal });
  document.addEventListener("keydown", () => ends.abort(), { signal: ends.signal, capture: true });
  document.addEventListener("pointerdown", () => ends.abort(), { signal: ends.signal, capture: true });
}
export function start() {
  put("help", { opened: false });
  keepFocus();
  before = document.activeElement;
  if (!card) {
    card = make("section", { className: "walk card", tabIndex: -1 });
    card.setAttribute("role", "dialog");
    card.setAttribute("aria-labelledby", "walk-title");
    card.setAttribute("aria-describedby", "walk-text");
    card.addEventListener("keydown", keys);
    document.body.append(card);
    document.documentElement.dataset.walk = "on";
  }
  go(remembered());
}
/** The place is kept. */
function leave() {
  unmark();
  card?.remove();
  card = null;
  delete document.documentElement.dataset.walk;
  if (before instanceof HTMLElement && before.checkVisibility()) before.focus();
  else find("open-help")?.focus();
}
/** @param {KeyboardEvent} event */
function keys(event) {
  const act = { Escape: leave, ArrowRight: () => go(place + 1), ArrowLeft: () => go(place - 1) }[event.key];
  if (!act) return;
  event.preventDefault();
  event.stopPropagation();
  act();
}
