/* Runs: cells of the grid, and what needs no server. */
(() => {
  "use strict";
  const cells = (window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {});
  const functions = (window.dashAgGridFunctions = window.dashAgGridFunctions || {});
  const SHAPES = { t5: "circle", gpt2: "diamond" };
  const BAD = new Set(["failed", "killed", "damaged"]);
  const node = (...parts) => window.React.createElement(...parts);

  cells.RunCell = (props) => {
    const { family, kind } = props.data;
    const glyph = `glyph ${SHAPES[family] || "square"} ${family || "other"} ${kind === "dpo" ? "solid" : "hollow"}`;
    return node("span", { className: "cell" }, node("span", { className: glyph, "aria-hidden": true }), props.value);
  };
  cells.StatusCell = (props) =>
    node("span", { className: "cell" }, node("span", { className: "pill" + (BAD.has(props.value) ? " bad" : "") }, props.value));
  /* Settings as people write them: 0.1, 5e-6. */
  functions.dpoNumber = (value) => {
    if (typeof value !== "number") return value ?? "";
    const small = value !== 0 && Math.abs(value) < 1e-3;
    return small ? value.toExponential().replace(/e-0?/, "e-") : String(+value.toPrecision(4));
  };

  window.dash_clientside = Object.assign(window.dash_clientside || {}, {
    runs: { polls: (hidden) => hidden, close: () => false },
  });
})();
