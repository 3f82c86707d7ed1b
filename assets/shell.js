/* Navigation, theme, help and copying: everything that needs no server. */
(() => {
  "use strict";
  const root = document.documentElement;
  const KEY = "dpo-theme";

  function setTheme(scheme) {
    root.setAttribute("data-mantine-color-scheme", scheme);
    const button = document.getElementById("theme-switch");
    const icon = button && button.querySelector(".i");
    if (icon) icon.className = "i " + (scheme === "dark" ? "i-sun" : "i-moon");
  }
  function preferred() {
    let saved = null;
    try { saved = localStorage.getItem(KEY); } catch { /* storage may be off */ }
    return saved || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  }
  setTheme(preferred());
  // Mantine sets the attribute again when it mounts; ours is the one that counts.
  new MutationObserver(() => {
    if (root.getAttribute("data-mantine-color-scheme") !== current) setTheme(current);
  }).observe(root, { attributes: true, attributeFilter: ["data-mantine-color-scheme"] });
  let current = preferred();

  /* Whoever has just ticked a box or chosen one of a few writes nothing: single keys still act. */
  function typing(target) {
    return target instanceof Element && target.closest("input:not([type='checkbox'], [type='radio']), textarea, select, [contenteditable='true']");
  }
  /* A field tells Dash its text a moment after the last key: a command by key means what stands there now. */
  function hand(...ids) {
    for (const id of ids) window.dash_clientside.set_props(id, { value: document.getElementById(id).value });
  }
  async function copy(text, button) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = Object.assign(document.createElement("textarea"), { value: text });
      document.body.append(area); area.select(); document.execCommand("copy"); area.remove();
    }
    if (!button) return;
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1200);
  }

  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    const link = event.target.closest("a.js-nav");
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
      event.preventDefault();
      history.pushState({}, "", link.getAttribute("href"));
      dispatchEvent(new PopStateEvent("popstate"));
      return;
    }
    const copyButton = event.target.closest(".js-copy");
    if (copyButton) { copy(copyButton.closest(".cmd").querySelector("code").textContent, copyButton); return; }
    if (event.target.closest("#theme-switch")) {
      current = root.getAttribute("data-mantine-color-scheme") === "dark" ? "light" : "dark";
      try { localStorage.setItem(KEY, current); } catch { /* it then lasts for this visit only */ }
      setTheme(current);
    }
  });

  /* The pages say by which key they are opened (shell.py). */
  const pageOf = (key) => [...document.querySelectorAll(".navigation a")].find((link) => link.dataset.key === key);
  let pending = "";
  document.addEventListener("keydown", (event) => {
    if (typing(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (pending === "g") pageOf(event.key)?.click();
    pending = event.key === "g" ? "g" : "";
    if (event.key === "?") document.getElementById("open-help")?.click();
  });

  window.dpo = Object.assign(window.dpo || {}, { copy, typing, hand });
  window.dash_clientside = Object.assign(window.dash_clientside || {}, {
    shell: {
      show(pathname) {
        // One page for each entry of the navigation, in its order; an unknown path is the first page.
        const entries = [...document.querySelectorAll(".navigation .nav-item")];
        const shown = entries.find((item) => item.getAttribute("href") === pathname) || entries[0];
        const key = shown.dataset.page;
        document.querySelectorAll(".nav-item").forEach((item) => {
          const on = item.dataset.page === key;
          item.classList.toggle("on", on);
          if (on) item.setAttribute("aria-current", "page"); else item.removeAttribute("aria-current");
        });
        document.title = shown.textContent + " · DPO Workbench";
        // Charts measured themselves while they were hidden.
        requestAnimationFrame(() => dispatchEvent(new Event("resize")));
        setTheme(current);
        // A page comes when it is first visited; asked for again if it never came.
        const wanted = (item) => item === shown && document.querySelector(`#page-${key} > .page-opening`);
        return [
          ...entries.map((item) => item.dataset.page !== key),
          ...entries.map((item) => (wanted(item) ? Date.now() : window.dash_clientside.no_update)),
        ];
      },
      help(_clicks, opened) { return !opened; },
    },
  });
})();
