// The grid of the Data page: read anew when what is searched changes, and the shown pair marked.
window.dash_clientside = window.dash_clientside || {};
(() => {
  const none = () => window.dash_clientside.no_update;
  // The grid's library is loaded when the page is first shown: until then there is nothing to refresh.
  const grid = (act) => {
    if (window.dash_ag_grid) window.dash_ag_grid.getApiAsync("da-rows").then(act);
    return none();
  };
  const mark = (api, at) => {
    const row = api.getDisplayedRowAtIndex(at);
    if (!row || !row.data || row.data.index !== at) return false;
    if (!row.isSelected()) row.setSelected(true, true);
    return true;
  };
  let waiting = null;
  window.dash_clientside.data = {
    refresh: () => grid((api) => api.purgeInfiniteCache()),
    select: (at) => grid((api) => {
      if (waiting) api.removeEventListener("modelUpdated", waiting);
      waiting = null;
      if (at === null || at === undefined) return;
      if (at < api.getDisplayedRowCount()) api.ensureIndexVisible(at);
      if (mark(api, at)) return;
      // Its block is still on the way.
      waiting = () => {
        if (mark(api, at)) { api.removeEventListener("modelUpdated", waiting); waiting = null; }
      };
      api.addEventListener("modelUpdated", waiting);
    }),
  };
})();
