// @ts-check
/* Runs: cells of the grid. */
import { glyphClass } from "../lib/families.js";
import { compact } from "../lib/format.js";

const cells = (window.dashAgGridComponentFunctions ??= {});
const functions = (window.dashAgGridFunctions ??= {});
const BAD = new Set(["failed", "killed", "damaged"]);
/** @param {unknown[]} parts */
const node = (...parts) => window.React.createElement(...parts);

cells.RunCell = /** @param {any} props */ (props) => {
  const { family, kind, path } = props.data;
  const sign = node("span", { className: glyphClass(family, kind === "dpo"), "aria-hidden": true });
  const href = `/run?${new URLSearchParams({ run: path })}`;
  return node("span", { className: "cell" }, sign, node("a", { className: "js-nav", href, tabIndex: -1 }, props.value));
};
const FLAWED = { className: "pill", "aria-label": "not all of its record could be read", role: "img" };
cells.StatusCell = /** @param {any} props */ (props) =>
  node(
    "span",
    { className: "cell" },
    node("span", { className: "pill" + (BAD.has(props.value) ? " bad" : "") }, props.value),
    props.data.flawed ? node("span", FLAWED, "!") : null,
  );
/* Settings as people write them: 0.1, 5e-6. */
functions.dpoNumber = /** @param {unknown} value */ (value) =>
  typeof value === "number" ? compact(value, 4, 3) : (value ?? "");
