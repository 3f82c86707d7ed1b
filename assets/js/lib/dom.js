// @ts-check
/* The document: parts by id, new elements, events, and what Dash keeps of both. */

/**
 * The element with an id that the page is known to have.
 * @param {string} id
 */
export const $ = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @param {string} id */
export const field = (id) => /** @type {HTMLInputElement} */ (document.getElementById(id));
/** @param {string} id */
export const button = (id) => /** @type {HTMLButtonElement} */ (document.getElementById(id));
/**
 * The element with an id, or null where its page has not come yet.
 * @param {string} id
 */
export const find = (id) => document.getElementById(id);
/**
 * The element with an id, as soon as its page has come.
 * @param {string} id
 * @returns {Promise<HTMLElement>}
 */
export function appeared(id) {
  return new Promise((resolve) => {
    const look = () => {
      const found = find(id);
      if (found) resolve(found);
      return Boolean(found);
    };
    if (look()) return;
    const watching = new MutationObserver(() => look() && watching.disconnect());
    watching.observe(document.body, { childList: true, subtree: true });
  });
}
/**
 * All elements of a selector.
 * @param {string} selector
 * @param {ParentNode} [within]
 */
export const all = (selector, within = document) =>
  /** @type {HTMLElement[]} */ ([...within.querySelectorAll(selector)]);
/**
 * The first element of a selector within one that is known to have it.
 * @param {ParentNode} within
 * @param {string} selector
 */
export const part = (within, selector) => /** @type {HTMLElement} */ (within.querySelector(selector));

/**
 * A new element; blanks among the children are left out.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string | Record<string, unknown>} [properties] its class, or properties by name
 * @param {...(Node | string | null | undefined)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, properties = "", ...children) {
  const node = document.createElement(tag);
  if (typeof properties === "string") {
    if (properties) node.className = properties;
  } else Object.assign(node, properties);
  node.append(.../** @type {(Node | string)[]} */ (children.filter((child) => child !== null && child !== undefined)));
  return node;
}
/**
 * A button that submits nothing.
 * @param {string} className
 * @param {string} text
 * @param {() => void} [act]
 */
export function makeButton(className, text, act) {
  const node = make("button", { type: "button", className, textContent: text });
  if (act) node.addEventListener("click", act);
  return node;
}
/**
 * A value and what it counts, as one chip.
 * @param {string} value
 * @param {string} label
 * @param {string} [extra] further classes
 */
export const stat = (value, label, extra = "") =>
  make("span", `stat ${extra}`, make("b", "num", value), make("span", "", label));
/**
 * A bar of progress.
 * @param {string} label
 * @param {number | null | undefined} share from 0 to 1; without one it is not known how far the work is
 */
export function progressBar(label, share) {
  const known = typeof share === "number";
  const bar = make("div", known ? "progress" : "progress indeterminate");
  if (known) {
    const done = make("i");
    done.style.width = `${100 * share}%`;
    bar.append(done);
  }
  bar.setAttribute("role", "progressbar");
  bar.setAttribute("aria-label", label);
  return bar;
}

/**
 * The nearest element of a selector around what an event happened to.
 * @param {Event} event
 * @param {string} selector
 */
export const closest = (event, selector) =>
  event.target instanceof Element ? /** @type {HTMLElement | null} */ (event.target.closest(selector)) : null;
/**
 * Whether keys are being written into a field. Whoever has just ticked a box or chosen one of a few writes nothing.
 * @param {Event} event
 */
export const typing = (event) =>
  Boolean(closest(event, "input:not([type='checkbox'], [type='radio']), textarea, select, [contenteditable='true']"));
/**
 * Whether a key is pressed for a shortcut of its own: no field is written into, no modifier is held.
 * @param {KeyboardEvent} event
 */
export const plainKey = (event) => !(typing(event) || event.ctrlKey || event.metaKey || event.altKey);

/** What a clientside callback returns for an output that stays as it is. */
export const none = () => window.dash_clientside.no_update;
/**
 * Set properties of a Dash component.
 * @param {string} id
 * @param {Record<string, unknown>} props
 */
export const put = (id, props) => window.dash_clientside.set_props(id, props);
/**
 * Hand the texts of fields to Dash now: it hears of them a moment after the last key, a command by key means what
 * stands there already.
 * @param {...string} ids
 */
export function handOver(...ids) {
  for (const id of ids) put(id, { value: field(id).value });
}
/** Charts that were hidden, or whose place changed, measure themselves again. */
export const remeasure = () => dispatchEvent(new Event("resize"));

/**
 * Copy a text to the clipboard; a button shows that it was done.
 * @param {string} text
 * @param {Element | null} [shown]
 */
export async function copy(text, shown) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  if (!shown) return;
  shown.classList.add("copied");
  setTimeout(() => shown.classList.remove("copied"), 1200);
}
/**
 * Let the browser save a text, or other content, as a file.
 * @param {string} name
 * @param {string | Blob} content
 * @param {string} [type] of a text
 */
export function download(name, content, type) {
  const link = make("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
/**
 * Go to a page of ours, as its entry in the navigation does.
 * @param {string} address
 */
export function visit(address) {
  const link = make("a", { className: "js-nav", href: address });
  document.body.append(link);
  link.click();
  link.remove();
}

/** @type {ResizeObserver | undefined} */
let sizes;
/**
 * A text that is longer or wider than its place can be scrolled by keys, too, also once the window or what stands
 * above it has another size. To be called again after its text has changed.
 * @param {HTMLElement} node
 */
export function scrollable(node) {
  sizes ??= new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const { scrollHeight, clientHeight, scrollWidth, clientWidth } = target;
      if (scrollHeight > clientHeight || scrollWidth > clientWidth) target.setAttribute("tabindex", "0");
      else target.removeAttribute("tabindex");
    }
  });
  sizes.observe(node);
}
