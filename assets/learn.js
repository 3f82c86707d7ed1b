/* Training: the playground of losses. */
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const opened = () => $("learn-playground")?.open;
  let inked = null, run = "", busy = false, drawn = "";
  const chosen = () => document.querySelector("#tr-run-list .run.on input")?.value || "";

  async function ask(path, body) {
    const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error);
    return found;
  }
  async function draw() {
    run = chosen();
    const asked = JSON.stringify([run, inked]);
    try {
      const found = await ask("/api/losses", { run, ...(inked ? { losses: inked } : {}) });
      drawn = asked;
      await window.dpo.plotly();
      // Not react: it fails where an axis is added (the histogram's).
      await window.Plotly.newPlot(document.querySelector("#learn-figure .plot"), found.figure.data, found.figure.layout, { displayModeBar: false, responsive: true });
      $("learn-note").textContent = found.note;
      document.querySelectorAll(".js-loss").forEach((chip) => chip.setAttribute("aria-pressed", String(found.inked.includes(chip.dataset.loss))));
    } catch (error) { $("learn-note").textContent = error.message; }
  }
  async function measure() {
    if (busy) return;
    busy = true;
    $("learn-note").textContent = "Measuring the held-out pairs (the first time PyTorch is started, some seconds)";
    try { await ask("/api/losses/margins", { run: chosen() }); await draw(); } catch (error) { $("learn-note").textContent = error.message; }
    busy = false;
  }
  document.addEventListener("toggle", (event) => { if (event.target.id === "learn-playground" && opened()) draw(); }, true);
  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    const chip = event.target.closest(".js-loss");
    if (chip) {
      const on = [...document.querySelectorAll(".js-loss")].filter((one) => (one.getAttribute("aria-pressed") === "true") !== (one === chip)).map((one) => one.dataset.loss);
      inked = on;
      draw();
    } else if (event.target.closest("#learn-measure")) measure();
  });
  // Another run was chosen: its own loss and margins.
  new MutationObserver(() => { if (opened() && !busy && chosen() !== run) draw(); }).observe(document.documentElement, { subtree: true, childList: true, attributes: true, attributeFilter: ["class"] });
})();
