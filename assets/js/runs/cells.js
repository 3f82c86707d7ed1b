// @ts-check
/* Runs: cells of the grid. */
import { glyphClass } from "../lib/families.js";
import { compact, plain } from "../lib/format.js";

const cells = (window.dashAgGridComponentFunctions ??= {});
const functions = (window.dashAgGridFunctions ??= {});
const BAD = new Set(["failed", "killed", "damaged"]);
/** @param {unknown[]} parts */
const node = (...parts) => window.React.createElement(...parts);

const PINNED = { className: "i i-pin", role: "img", "aria-label": "pinned" };
cells.RunCell = /** @param {any} props */ (props) => {
  const { family, kind, path } = props.data;
  const sign = node("span", { className: glyphClass(family, kind === "dpo"), "aria-hidden": true });
  const href = `/run?${new URLSearchParams({ run: path })}`;
  const link = node("a", { className: "js-nav", href, tabIndex: -1 }, props.value);
  return node("span", { className: "cell" }, sign, link, props.data.pinned ? node("span", PINNED) : null);
};
const FLAWED = { className: "pill", "aria-label": "not all of its record could be read", role: "img" };
cells.StatusCell = /** @param {any} props */ (props) =>
  node(
    "span",
    { className: "cell" },
    node("span", { className: "pill" + (BAD.has(props.value) ? " bad" : "") }, props.value),
    props.data.flawed ? node("span", FLAWED, "!") : null,
  );
cells.TagsCell = /** @param {any} props */ (props) =>
  node(
    "span",
    { className: "cell tags" },
    ...String(props.value || "")
      .split(", ")
      .filter(Boolean)
      .map((tag) => node("span", { className: "pill", key: tag }, tag)),
  );
/* Settings as people write them: 0.1, 5e-6. */
functions.dpoNumber = /** @param {unknown} value */ (value) =>
  typeof value === "number" ? compact(value, 4, 3) : (value ?? "");
/* The same in a column where one of them is tiny: 5e-3 beside 7e-4. */
functions.dpoPower = /** @param {unknown} value */ (value) =>
  typeof value === "number" && value !== 0 ? (+value.toPrecision(3)).toExponential() : (value ?? "");
/* A measure with its digits; what they would make nothing of is a power of ten. */
functions.dpoMeasure = /** @param {unknown} value @param {number} digits */ (value, digits) => {
  if (typeof value !== "number") return "";
  const tiny = value !== 0 && Math.abs(value) < 0.5 / 10 ** digits;
  return tiny ? value.toExponential(0).replace(/^-/, "\u2212") : plain(value, digits);
};
