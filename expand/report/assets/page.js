// The page: the sections of one run; with several runs, their common sections first, then those of each run.

const DATA = JSON.parse(document.getElementById("data").textContent);
const VIEW = new URLSearchParams(location.hash.slice(1)); // #cost=params&trial=12: a link shares the view

function select(label, choices, chosen, change) {
  const list = el("select", { onchange: () => change(list.value) }, choices.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
  return el("label", {}, `${label} `, list);
}

function remember(key, value) {
  VIEW.set(key, value);
  history.replaceState(null, "", `#${VIEW}`);
}

function section(title, id, ...parts) {
  return el("section", { id }, el("h2", {}, title), ...parts);
}

// Networks from inherited weights have a front of their own; everything else is about those trained from scratch.
const fromScratch = (run) => run.candidates.filter((c) => c.inherit === null);

const note = (text) => el("p", { class: "note" }, text);

function counted(run) {
  const names = { complete: "complete", running: "running", failed: "failed", infeasible: "infeasible", pruned: "stopped early" };
  return Object.entries(names).map(([state, name]) => [fromScratch(run).filter((c) => c.state === state).length, name]).filter(([count]) => count).map(([count, name]) => `${count.toLocaleString("en")} ${name}`).join(", ") || "no candidates yet";
}

// --- the head --------------------------------------------------------------------------------------------------------

function head(run, level) {
  const scored = fromScratch(run).filter((c) => c.top1 !== null);
  const best = scored.reduce((a, b) => (a && a.top1 >= b.top1 ? a : b), null);
  const tested = testOfBest(run, best);
  const seconds = run.trials.reduce((sum, t) => sum + t.seconds, 0);
  const videos = run.about.data.videos || {};
  const facts = [
    ["candidates", counted(run)],
    ["best validation top-1", best ? `${scoreText(best)} %` : "none yet"],
    ["test top-1 of the best", tested ? `${percent(tested.top1)} ± ${percent(tested.standard_error)} %` : null],
    ["on the front", many(run.front.length, "network")],
    ["training spent", duration(seconds)],
    ["videos", ["train", "val", "test"].filter((s) => videos[s]).map((s) => `${videos[s].toLocaleString("en")} ${s}`).join(", ")],
  ];
  return [
    el(level, {}, `${run.study} (${run.scale}) on ${run.data_name}`),
    el("p", { class: "soft" }, el("span", { class: run.complete ? "flag" : "flag open" }, run.complete ? "search ended" : "search not ended"), ` ${run.name} · ${run.texts.training} · accuracy: ${run.texts.accuracy} · ${run.texts.noise}`),
    el("dl", { class: "facts" }, facts.filter(([, text]) => text).map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text)))),
  ];
}

// --- sections --------------------------------------------------------------------------------------------------------

function frontSection(run, id) {
  const keys = run.costs.map((cost) => cost.key);
  const state = { cost: keys.includes(VIEW.get("cost")) ? VIEW.get("cost") : run.main_cost, path: true };
  if (!keys.includes(state.cost)) state.cost = keys[0];
  const pinned = el("div", { class: "pinned", "aria-live": "polite" });
  const pick = (run, index) => { pinned.textContent = describe(run, index); remember("trial", run.candidates[index].trials[0]); };
  const figure = frontPlot([run], state, pick), below = el("div"), what = note("");
  const render = () => {
    const cost = run.costs.find((each) => each.key === state.cost);
    figure.redraw();
    below.replaceChildren(frontTable(run, cost));
    const extra = run.objectives.filter((o) => o.on_front).length > 2 ? ` The search had ${run.objectives.filter((o) => o.on_front).map((o) => o.name).join(", ")} as objectives; here is the front over this one cost.` : "";
    what.textContent = `${cost.name}: ${cost.what}. Accuracy: ${run.texts.accuracy}; ${run.texts.noise}. Only candidates that were trained in full are drawn; of ${fromScratch(run).length.toLocaleString("en")}: ${counted(run)}.${extra}`;
  };
  const asked = run.candidates.findIndex((c) => c.trials.includes(Number(VIEW.get("trial"))));
  pinned.textContent = asked >= 0 && VIEW.has("trial") ? describe(run, asked) : "Point at a candidate, or select one with the arrow keys, for details; click or Enter keeps them here.";
  const part = section("Accuracy against cost", id, el("div", { class: "controls" },
    select("cost", run.costs.map((cost) => [cost.key, cost.name]), state.cost, (value) => { state.cost = value; remember("cost", value); render(); }),
    run.path.length > 1 ? el("label", {}, el("input", { type: "checkbox", checked: true, onchange: (event) => { state.path = event.target.checked; figure.redraw(); } }), " path of the expansion") : null,
  ), figure, pinned, el("h3", {}, "The front"), below, what, (run.expected || []).map((line) => note(`${line[0].toUpperCase()}${line.slice(1)}.`)));
  return [part, render, pick];
}

function inheritedSection(run, id) {
  return section("Networks from inherited weights", id, inheritedTable(run),
    note("Made by `expand grow`: each started from the weights of another trial. Marked rows stand on a front of their own, dashed in the figure; none decides anything, because its parents' epochs count too, and inherited weights do not rank networks as trainings from scratch do. Epochs and training are those of the whole lineage, and beside them of one training from scratch. A start that does not compute what its parent does says why."));
}

// The test of the network that validation chose: the best of all tests would be a choice by the test split.
const testOfBest = (run, best) => (best && run.about.tests.find((t) => best.trials.includes(t.trial))) || null;

function testSection(run, id) {
  const tests = [...run.about.tests].sort((a, b) => b.top1 - a.top1);
  const best = fromScratch(run).filter((c) => c.top1 !== null).reduce((a, b) => (a && a.top1 >= b.top1 ? a : b), null);
  const shown = testOfBest(run, best) || tests[0];
  return section("Test split", id, testsTable(run, tests),
    note("Results of `expand test` on videos that no choice was based on: the mean softmax of all views of a video. ± is the binomial standard error."),
    tests.map((test) => el("details", { open: test === shown },
      el("summary", {}, `Classes and confusions of trial ${test.trial}`),
      el("div", { class: "columns" }, testClassesTable(test), test.confusion.length ? confusionTable(test) : note("The confusion matrix is in confusion.png beside the weights.")))));
}

function expansionSection(run, id, pick) {
  const grown = run.steps.some((step) => step.kind !== "start" && step.entries.some((entry) => entry.top1 !== null));
  const noise = run.seeds.length > 1 ? "standard deviation over seeds" : "standard error of the validation split";
  return section("The expansion, step by step", id,
    grown ? expansionPlot(run, pick) : note("No step has a trained candidate yet."),
    el("h3", {}, "Gain of each axis"),
    run.payoffs.length ? [payoffTable(run), note("Points of top-1 gained per doubling of multiply-adds over the step's base, averaged over the steps that offered the axis; ± is the standard error of that mean, from two steps on. A candidate that two axes lead to counts for both.")] : note("Nothing was grown yet."),
    el("h3", {}, "Decisions"),
    run.steps.map((step) => el("details", { open: run.steps.length <= 12 },
      el("summary", {}, `Step ${step.step}: ${step.kind}${step.chosen !== null && step.kind !== "start" ? `, ${step.entries[step.chosen].axes.join(" = ")} chosen` : ""}`),
      el("p", {}, step.why), stepTable(run, step), step.notes.map(note))),
    note(`Costs: ${run.texts.convention}. ± is the ${noise}; decisions on noise use both. For one step: ${run.texts.resolution}.`));
}

function seedsSection(run, id, pick) {
  return section("Differences over seeds", id, seedsPlot(run, pick), seedsTable(run), note(run.comparison.note));
}

function volumeSection(runs, id) {
  const state = { spent: VIEW.get("spent") === "macs" ? "macs" : "seconds" };
  const figure = volumePlot(runs, state);
  const { low, high, cost } = runs[0].volume;
  const { unit, name } = runs[0].costs.find((each) => each.key === cost);
  return section("Hypervolume against training spent", id,
    el("div", { class: "controls" }, select("spent", [["seconds", "training time"], ["macs", "training multiply-adds"]], state.spent, (value) => { state.spent = value; remember("spent", value); figure.redraw(); })),
    figure,
    note(`The share of a fixed box below the front: ${name} from ${amount(low, unit)} to ${amount(high, unit)} (from ${runs.length > 1 ? "where every run has a network" : "the cheapest complete network"} to twice the most expensive) on a log axis, top-1 from 0 to 100 %. It equals the best top-1 at each cost, averaged over these costs. Training spent is that of all ended trials, including failed ones; multiply-adds are three times the network's per training clip and once per validation clip, in whole epochs.`));
}

function curvesSection(run, id) {
  const state = { curve: VIEW.get("curve") in CURVES ? VIEW.get("curve") : "top1", search: VIEW.get("show") || "" };
  const figure = curvesPlot(run, state);
  const search = el("input", { type: "search", value: state.search, placeholder: "such as: front, width, trial 7", oninput: () => { state.search = search.value; figure.redraw(); } });
  const views = run.views > 1 ? ` After all but the last epoch a video is scored by one centre clip; after the last by ${run.views}.` : "";
  return section("Learning curves", id,
    el("div", { class: "controls" }, select("of", Object.entries(CURVES), state.curve, (value) => { state.curve = value; remember("curve", value); figure.redraw(); }), el("label", {}, "only ", search)),
    figure, note(`One line per training. Up to twelve lines are all in colour; of more, only those of the front.${views}`));
}

function plannedSection(run, id) {
  return section("Planned against actual", id, run.planned.lines.map((line) => el("p", {}, line)), plannedTable(run),
    note(`Timed beforehand: ${run.planned.timed}. An asterisk marks predictions by the fit. Error: planned against actual.`));
}

function predictedSection(run, id) {
  return section("Predicted against measured", id, run.predicted.lines.map((line) => el("p", {}, line)), predictedTable(run),
    note("Predicted by the search's model before the training, ± its standard deviation, without the noise of a seed."));
}

function trialsSection(run, id) {
  const off = run.trials.filter((t) => ["failed", "infeasible", "pruned"].includes(t.state));
  const running = run.trials.filter((t) => t.state === "running");
  return section("Trials", id,
    off.length ? [el("h3", {}, "Failed, infeasible or stopped early, and why"), reasonsTable(run, off)] : null,
    running.length ? [el("h3", {}, "Still running, or interrupted"), trialsTable(run, running)] : null,
    el("h3", {}, "All trainings"), trialsTable(run, run.trials));
}

function aboutSection(run, id) {
  const { data, environment, recipe, budget, strategy, space, asked, classes } = run.about;
  const videos = data.videos || {};
  const table = { name: data.name || run.data_name, classes: (data.classes || []).length || "not recorded", videos, ...(data.groups ? { groups: data.groups } : {}), "SHA-256 of the list and all files": data.fingerprint || "not recorded" };
  const parts = [
    ["Data", table, Object.keys(classes).length ? el("details", {}, el("summary", {}, "videos per class and split"), classesTable(run)) : null],
    ["Accuracy", { "selected by": run.texts.accuracy, "±": run.texts.noise, seeds: run.seeds, views: run.views, "test split": run.about.tested.length ? run.about.tested.join("; ") : "not used yet" }],
    ["Costs", Object.fromEntries(run.costs.map((cost) => [cost.name, cost.what]))],
    ["Recipe", recipe], ["Strategy", strategy], ["Budget", budget], ["Search space", space],
    ["Environment", environment], ["Command", asked],
  ];
  return section("Conditions of these numbers", id, el("div", { class: "columns" }, parts.filter(([, values]) => values && Object.keys(values).length).map(([title, values, more]) => el("div", {}, el("h3", {}, title), valuesTable(values), more || null))));
}

// --- putting it together ---------------------------------------------------------------------------------------------

function runParts(run, prefix) {
  const drawn = run.candidates.some((c) => c.state === "complete");
  const parts = [];
  const add = (name, title, make) => parts.push([`${prefix}${name}`, title, make]);
  const [front, render, pick] = drawn ? frontSection(run, `${prefix}front`) : [null, () => {}, () => {}];
  if (front) add("front", "front", () => front);
  if (run.inherited.length) add("inherited", "inherited weights", (id) => inheritedSection(run, id));
  if (run.about.tests.length) add("test", "test split", (id) => testSection(run, id));
  if (run.steps.length) add("expansion", "expansion", (id) => expansionSection(run, id, pick));
  if (run.comparison) add("seeds", "seeds", (id) => seedsSection(run, id, pick));
  if (drawn && run.volume.low !== null) add("volume", "hypervolume", (id) => volumeSection([run], id));
  if (run.trials.some((t) => t.curve.epoch.length)) add("curves", "learning curves", (id) => curvesSection(run, id));
  if (run.predicted) add("predicted", "predictions", (id) => predictedSection(run, id));
  if (run.planned) add("planned", "plan", (id) => plannedSection(run, id));
  add("trials", "trials", (id) => trialsSection(run, id));
  add("about", "data and recipe", (id) => aboutSection(run, id));
  const sections = parts.map(([id, , make]) => make(id));
  render();
  const nothing = drawn ? null : el("p", {}, el("strong", {}, "No candidate is complete yet, so there is no front. "), "The state of all trials is below.");
  return [el("nav", { "aria-label": run.name }, parts.map(([id, title]) => el("a", { href: `#${id}`, onclick: (event) => { event.preventDefault(); document.getElementById(id).scrollIntoView(); } }, title))), nothing, ...sections];
}

function together(runs) {
  const keys = runs[0].costs.map((cost) => cost.key).filter((key) => runs.every((run) => run.costs.some((cost) => cost.key === key)));
  if (!keys.length) return [note("These runs have no complete candidates to be drawn together.")];
  const state = { cost: keys.includes(VIEW.get("cost")) ? VIEW.get("cost") : keys[0] };
  const pinned = el("div", { class: "pinned", "aria-live": "polite" }, "Point at a candidate for details; click keeps them here.");
  const figure = frontPlot(runs, state, (run, index) => { pinned.textContent = `${run.name}: ${describe(run, index)}`; });
  const key = el("p", {}, runs.map((run, place) => [el("span", { style: `color:${COLORS[place % COLORS.length]};font-weight:600` }, `● ${run.name}`), "   "]));
  const apart = DATA.apart.length ? el("p", {}, el("strong", {}, "Not comparable: "), `these runs differ in ${DATA.apart.join(", ")}, so their accuracies cannot be compared.`) : null;
  const same = runs.every((run) => run.volume.low !== null && run.volume.low === runs[0].volume.low && run.volume.cost === runs[0].volume.cost);
  const part = section("Fronts together", "together", apart, el("div", { class: "controls" },
    select("cost", runs[0].costs.filter((cost) => keys.includes(cost.key)).map((cost) => [cost.key, cost.name]), state.cost, (value) => { state.cost = value; figure.redraw(); })),
    key, figure, pinned, table([
      { title: "run", cell: (run) => run.name }, { title: "study", cell: (run) => `${run.study} (${run.scale})` },
      { title: "data", cell: (run) => run.data_name }, { title: "candidates", cell: counted },
      { title: "best top-1 %", number: true, cell: (run) => percent(Math.max(...fromScratch(run).map((c) => c.top1 || 0))) },
      { title: "training spent", number: true, cell: (run) => duration(run.trials.reduce((sum, t) => sum + t.seconds, 0)) },
    ], runs));
  figure.redraw();
  return [part, same ? volumeSection(runs, "volumes") : null];
}

function page() {
  const main = document.getElementById("page"), { runs } = DATA;
  if (runs.length === 1) return fill(main, {}, [...head(runs[0], "h1"), ...runParts(runs[0], "")]);
  return fill(main, {}, [
    el("h1", {}, `${runs.length} runs`),
    el("nav", { "aria-label": "runs" }, runs.map((run, place) => el("a", { href: `#run${place}`, onclick: (event) => { event.preventDefault(); document.getElementById(`run${place}`).scrollIntoView(); } }, run.name))),
    ...together(runs),
    ...runs.map((run, place) => el("article", { id: `run${place}` }, ...head(run, "h2"), ...runParts(run, `run${place}-`))),
  ]);
}

page();
document.documentElement.dataset.ready = "yes";
