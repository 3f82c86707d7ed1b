// @ts-check
/* The frame: navigation, theme, help and copying: everything that needs no server. */
import { $, all, closest, copy, find, part, plainKey, put, remeasure } from "./lib/dom.js";
import { script } from "./lib/script.js";

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

/* What Dash's components leave without a name or a place for a screen reader, wherever they appear. */
new MutationObserver(() => {
  for (const head of all(".mantine-Modal-header:not([role])")) head.setAttribute("role", "presentation");
  for (const input of all("input[type=file]:not([aria-label])")) input.setAttribute("aria-label", "Upload a file");
}).observe(document.body, { childList: true, subtree: true });

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
  const link = closest(event, "a.js-nav, .docs-text a[href^='/']");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    if (new URL(/** @type {HTMLAnchorElement} */ (link).href).pathname !== location.pathname) scrollTo(0, 0);
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

/** @param {string} src @param {() => void} visit @param {string} key */
async function openWith(src, visit, key) {
  try {
    await script(src, "The table");
    visit();
  } catch (error) {
    const opening = $(`page-${key}`).querySelector(":scope > .page-opening");
    if (opening) opening.textContent = `${/** @type {Error} */ (error).message} Open the page again then.`;
  }
}

/** One entry of the navigation for each page; an unknown path is the first page. @param {string} path */
const entryOf = (path) => {
  const entries = all(".navigation .nav-item");
  return entries.find((item) => item.getAttribute("href") === path) || entries[0];
};
/** The page that is shown comes when it is first visited; it is asked for again if it never came. */
export function mount() {
  const shown = entryOf(location.pathname);
  const key = shown?.dataset.page || "";
  if (!find(`page-${key}`)?.querySelector(":scope > .page-opening")) return;
  const visit = () => put(`visit-${key}`, { data: Date.now() });
  // Dash draws a grid only where its script has run before.
  const grid = shown.dataset.grids ? find("grid-script") : null;
  if (grid && !window.dash_ag_grid) openWith(String(grid.getAttribute("href")), visit, key);
  else visit();
}

export const callbacks = {
  /** @param {string} pathname */
  show(pathname) {
    const shown = entryOf(pathname);
    const { page: key, within } = shown.dataset;
    all(".nav-item").forEach((item) => {
      const on = item.dataset.page === (within || key);
      item.classList.toggle("on", on);
      if (on) item.setAttribute("aria-current", "page");
      else item.removeAttribute("aria-current");
    });
    const { docs } = shown.dataset;
    $("open-docs").setAttribute("href", docs ? `/docs?page=${docs}` : "/docs");
    document.title = `${shown.textContent} · DPO Workbench`;
    document.dispatchEvent(new CustomEvent("page", { detail: key }));
    requestAnimationFrame(remeasure);
    setTheme(current);
    mount();
    return all(".navigation .nav-item").map((item) => item.dataset.page !== key);
  },
  /** @param {number} _clicks @param {boolean} opened */
  help: (_clicks, opened) => !opened,
};
