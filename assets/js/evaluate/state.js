// @ts-check
/* Evaluate: what is looked at, all of it in the address. */

/** @typedef {import("./rows.js").Row} Row */

const STANDARD = {
  evaluation: "",
  judge: /** @type {string | null} */ (null),
  temperature: /** @type {string | null} */ (null),
  words: /** @type {string | null} */ (null),
  filter: "all",
  slice: "",
  text: "",
  page: 1,
  open: /** @type {number | null} */ (null),
  /* Whether a new one is being set up, and of which policy. */
  new: /** @type {string | null} */ (null),
  policy: /** @type {string[]} */ ([]),
};
/** @typedef {typeof STANDARD} Asked null leaves the choice to the server: the first judge, temperature, policy */

/**
 * What an address asks for.
 * @param {string} search
 * @returns {Asked}
 */
export function readLink(search) {
  const query = new URLSearchParams(search);
  const whole = /** @param {string} name */ (name) => {
    const value = parseInt(query.get(name) ?? "", 10);
    return Number.isFinite(value) && value >= 0 ? value : null;
  };
  return {
    evaluation: query.get("evaluation") ?? "",
    judge: query.get("judge"),
    temperature: query.get("temperature"),
    words: query.get("words"),
    filter: query.get("filter") || "all",
    slice: query.get("slice") ?? "",
    text: query.get("text") ?? "",
    page: Math.max(1, whole("page") ?? 1),
    open: whole("open"),
    new: query.get("new"),
    policy: query.getAll("policy"),
  };
}
/**
 * The address of what is looked at: what differs from a page that was just opened.
 * @param {Asked} asked
 */
export function linkOf(asked) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(asked)) {
    if (Array.isArray(value)) for (const one of value) query.append(name, one);
    else if (value !== null && value !== STANDARD[/** @type {keyof Asked} */ (name)]) query.set(name, String(value));
  }
  const text = String(query);
  return text ? `/evaluate?${text}` : "/evaluate";
}

export const screen = {
  asked: { ...STANDARD },
  /* What the server says of the evaluation, and its prompts. */
  view: /** @type {any} */ (null),
  rows: /** @type {Row[]} */ ([]),
};
/** Whether the page is looked at. */
export const onPage = () => location.pathname === "/evaluate";
/** Put what is looked at into the address. */
export function remember() {
  if (onPage()) history.replaceState({}, "", linkOf(screen.asked));
}
/** The judge whose verdicts are listed, where all are shown the first one; and all of them. */
export function by() {
  const { judges, judge } = screen.view;
  return {
    judges,
    judge: Math.max(
      0,
      judges.findIndex((/** @type {{ name: string }} */ one) => one.name === judge),
    ),
  };
}
