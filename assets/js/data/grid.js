// @ts-check
/* The grid of the Data page: read anew when what is searched changes, and the shown pair marked. */
import { none } from "../lib/dom.js";

/** @param {(api: any) => void} act */
function grid(act) {
  // The grid's library is loaded when the page is first shown: until then there is nothing to refresh.
  window.dash_ag_grid?.getApiAsync("da-rows").then(act);
  return none();
}
/** @param {any} api @param {number} at */
function mark(api, at) {
  const row = api.getDisplayedRowAtIndex(at);
  if (!row || !row.data || row.data.index !== at) return false;
  if (!row.isSelected()) row.setSelected(true, true);
  return true;
}
/** @type {(() => void) | null} */
let waiting = null;
/** @param {any} api */
function stopWaiting(api) {
  if (waiting) api.removeEventListener("modelUpdated", waiting);
  waiting = null;
}

export const callbacks = {
  /** A look at a source ends: only a click on Audit meanwhile starts one. @param {number} clicks */
  start: (clicks) => {
    const { triggered } = window.dash_clientside.callback_context;
    const asked = triggered.some((/** @type {{ prop_id: string }} */ change) => change.prop_id === "da-audit.n_clicks");
    return asked ? clicks : none();
  },
  refresh: () => grid((api) => api.purgeInfiniteCache()),
  /** The column of CHES is there once it was measured, the highest first. @param {string | null | undefined} policy */
  ches: (policy) =>
    grid((api) => {
      api.applyColumnState({
        state: [{ colId: "ches", hide: !policy, sort: policy ? "desc" : null }],
        defaultState: { sort: null },
      });
      if (policy) api.purgeInfiniteCache();
    }),
  /** @param {number | null | undefined} at */
  select: (at) =>
    grid((api) => {
      stopWaiting(api);
      if (at === null || at === undefined) return;
      if (at < api.getDisplayedRowCount()) api.ensureIndexVisible(at);
      if (mark(api, at)) return;
      // Its block is still on the way.
      waiting = () => {
        if (mark(api, at)) stopWaiting(api);
      };
      api.addEventListener("modelUpdated", waiting);
    }),
};
