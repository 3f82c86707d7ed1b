// @ts-check
/* The frame: navigation, theme, help and copying: everything that needs no server. */
import { $, all, closest, copy, find, none, part, plainKey, remeasure } from "./lib/dom.js";

const root = document.documentElement;
const STORED = "dpo-theme";
const SCHEME = "data-mantine-color-scheme";

/** @param {string} scheme */
function setTheme(scheme) {
  root.setAttribute(SCHEME, scheme);
  const icon = find("theme-switch")?.querySelector(".i");
  if (icon) icon.className = `i ${scheme === "dark" ? "i-sun" : "i-moon"}`;
}
/* What the script in the document's head chose (assets/inline/theme.js), until the switch is pressed. */
let current = root.getAttribute(SCHEME) || "light";
// Mantine sets the attribute again when it mounts; ours is the one that counts.
new MutationObserver(() => {
  if (root.getAttribute(SCHEME) !== current) setTheme(current);
}).observe(root, { attributes: true, attributeFilter: [SCHEME] });

function switchTheme() {
  current = root.getAttribute(SCHEME) === "dark" ? "light" : "dark";
  try {
    localStorage.setItem(STORED, current);
  } catch {
    // it then lasts for this visit only
  }
  setTheme(current);
}

document.addEventListener("click", (event) => {
  const link = closest(event, "a.js-nav");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    history.pushState({}, "", link.getAttribute("href"));
    dispatchEvent(new PopStateEvent("popstate"));
    return;
  }
  const copyButton = closest(event, ".js-copy");
  if (copyButton) {
    const command = /** @type {Element} */ (copyButton.closest(".cmd"));
    copy(part(command, "code").textContent || "", copyButton);
    return;
  }
  if (closest(event, "#theme-switch")) switchTheme();
});

let pending = "";
document.addEventListener("keydown", (event) => {
  if (!plainKey(event)) return;
  // g, then the key that the page itself names (shell.py).
  if (pending === "g")
    all(".navigation .nav-item")
      .find((item) => item.dataset.key === event.key)
      ?.click();
  pending = event.key === "g" ? "g" : "";
  if (event.key === "?") find("open-help")?.click();
});

export const callbacks = {
  /** @param {string} pathname */
  show(pathname) {
    // One page for each entry of the navigation, in its order; an unknown path is the first page.
    const entries = all(".navigation .nav-item");
    const shown = entries.find((item) => item.getAttribute("href") === pathname) || entries[0];
    const key = shown.dataset.page;
    all(".nav-item").forEach((item) => {
      const on = item.dataset.page === key;
      item.classList.toggle("on", on);
      if (on) item.setAttribute("aria-current", "page");
      else item.removeAttribute("aria-current");
    });
    document.title = `${shown.textContent} · DPO Workbench`;
    requestAnimationFrame(remeasure);
    setTheme(current);
    // A page comes when it is first visited; asked for again if it never came.
    const wanted = /** @param {HTMLElement} item */ (item) =>
      item === shown && $(`page-${key}`).querySelector(":scope > .page-opening");
    return [
      ...entries.map((item) => item.dataset.page !== key),
      ...entries.map((item) => (wanted(item) ? Date.now() : none())),
    ];
  },
  /** @param {number} _clicks @param {boolean} opened */
  help: (_clicks, opened) => !opened,
};
