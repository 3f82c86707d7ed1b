/* Runs: cells of the grid, and what needs no server. */
(() => {
  "use strict";
  const cells = (window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {});
  const functions = (window.dashAgGridFunctions = window.dashAgGridFunctions || {});
  const SHAPES = { seq2seq: "circle", causal: "diamond" };
  const BAD = new Set(["failed", "killed", "damaged"]);
  const node = (...parts) => window.React.createElement(...parts);

  cells.RunCell = (props) => {
    const { family, kind } = props.data;
    const glyph = `glyph ${SHAPES[family] || "square"} ${family || "other"} ${kind === "dpo" ? "solid" : "hollow"}`;
    return node("span", { className: "cell" }, node("span", { className: glyph, "aria-hidden": true }), props.value);
  };
  cells.StatusCell = (props) =>
    node("span", { className: "cell" },
      node("span", { className: "pill" + (BAD.has(props.value) ? " bad" : "") }, props.value),
      props.data.flawed ? node("span", { className: "pill", "aria-label": "not all of its record could be read", role: "img" }, "!") : null);
  /* Settings as people write them: 0.1, 5e-6. */
  functions.dpoNumber = (value) => {
    if (typeof value !== "number") return value ?? "";
    const small = value !== 0 && Math.abs(value) < 1e-3;
    return small ? (+value.toPrecision(3)).toExponential() : String(+value.toPrecision(4));
  };

  /* ---- a sweep from the page: the queue of trainings takes it, as it takes single runs ---- */
  async function begin(button) {
    const told = document.getElementById("rn-sweep-message"), plan = document.getElementById("rn-sweep-plan").value;
    const tell = (text, bad) => { told.textContent = text; told.classList.toggle("error-line", bad); };
    button.disabled = true;
    try {
      const answer = await fetch("/api/jobs/sweep", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ plan }) });
      const found = await answer.json();
      if (!answer.ok) throw new Error(found.error);
      tell(`${found.name}: ${found.trials} trials are in the queue (Training, New run, Queue)`, false);
    } catch (error) { tell(error instanceof TypeError ? "The server does not answer: is app.py running?" : error.message, true); }
    button.disabled = false;
  }
  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    const start = event.target.closest("#rn-sweep-start"), copied = event.target.closest("#rn-sweep-copy");
    if (start) begin(start);
    if (copied) window.dpo.copy(document.getElementById("rn-sweep-plan").value, copied);
  });

  window.dash_clientside = Object.assign(window.dash_clientside || {}, {
    runs: { polls: (hidden) => hidden, close: () => false },
  });
})();
