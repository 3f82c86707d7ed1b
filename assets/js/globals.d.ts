/* What Dash, its components and Plotly put on the window, as far as the modules use it. */
type Family = string | null | undefined;

interface DashClientside {
  no_update: unknown;
  set_props(id: string, props: Record<string, unknown>): void;
  [namespace: string]: any;
}

interface Window {
  dash_clientside: DashClientside;
  DashRenderer: new () => unknown;
  renderer: unknown;
  dash_ag_grid?: { getApiAsync(id: string): Promise<any> };
  dashAgGridComponentFunctions?: Record<string, unknown>;
  dashAgGridFunctions?: Record<string, unknown>;
  React: { createElement(...parts: unknown[]): unknown };
  Plotly?: any;
  _dashPlotlyJSURL: string;
  /** What tests and benchmarks look at from outside. */
  dpo: Record<string, any>;
}
