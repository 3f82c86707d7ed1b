// @ts-check
/* The one entry: every module is loaded when Dash's renderer, which calls them by name, is started here. */
import "./connection.js";
import "./grids.js";
import "./later.js";
import * as compare from "./compare/controls.js";
import { about, sampleOf, state } from "./compare/state.js";
import * as votes from "./compare/votes.js";
import * as data from "./data/grid.js";
import "./docs.js";
import * as evaluate from "./evaluate/view.js";
import * as lens from "./lens/controls.js";
import * as runs from "./runs/callbacks.js";
import "./runs/cells.js";
import "./runs/selection.js";
import "./runs/sweep_page.js";
import * as shell from "./shell.js";
import "./training/checkpoints.js";
import * as training from "./training/controls.js";
import { settled } from "./training/drawing.js";
import "./training/drawer.js";
import "./training/losses.js";
import "./training/player.js";
import "./training/poll.js";
import * as run from "./training/run.js";
import { screen } from "./training/state.js";

window.dash_clientside = Object.assign(window.dash_clientside || {}, {
  shell: shell.callbacks,
  compare: compare.callbacks,
  votes: votes.callbacks,
  lens: lens.callbacks,
  data: data.callbacks,
  evaluate: evaluate.callbacks,
  training: training.callbacks,
  run: run.callbacks,
  runs: runs.callbacks,
});
window.dpo = {
  compare: { state: () => state.run, sample: sampleOf, about, picked: () => state.picked, known: () => state.known },
  training: { runs: () => screen.view?.runs || [], settled },
};
window.renderer = new window.DashRenderer();
