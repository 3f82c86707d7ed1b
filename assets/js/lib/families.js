// @ts-check
/* How the families of policies are drawn; `dpo/families.py` holds the same facts for the server's figures. */
import { make } from "./dom.js";

/** @type {Record<string, string>} */
const SHAPES = { seq2seq: "circle", causal: "diamond" };
/** @type {Record<string, string>} */
export const KINDS = { seq2seq: "encoder–decoder", causal: "decoder only" };
export const FAMILIES = Object.keys(SHAPES);
/** @type {Record<string, string>} what links of earlier versions call a family */
export const FORMER = { seq2seq: "t5", causal: "gpt2" };

/**
 * The classes of a family's sign: solid where the policy was tuned.
 * @param {Family} family
 * @param {boolean} tuned
 */
export const glyphClass = (family, tuned) =>
  `glyph ${SHAPES[family ?? ""] || "square"} ${family || "other"} ${tuned ? "solid" : "hollow"}`;
/**
 * A family's sign.
 * @param {Family} family
 * @param {boolean} tuned
 */
export function glyph(family, tuned) {
  const node = make("span", glyphClass(family, tuned));
  node.setAttribute("aria-hidden", "true");
  return node;
}
