// The plots of a run: front, expansion, seeds, hypervolume, learning curves. `run` is the result of page_data.py.

const noiseOf = (c) => (c.spread !== null ? c.spread : c.standard_error);
const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8f7a00", "#56b4e9", "#7b858f"];

function describe(run, index) {
  const c = run.candidates[index];
  const noise = noiseOf(c);
  const costs = run.costs.filter((cost) => c.costs[cost.key] !== null).map((cost) => `${cost.name}: ${amount(c.costs[cost.key], cost.unit)}`);
  const score = c.top1 === null ? c.state : `top-1 ${percent(c.top1)} %${noise !== null ? ` ± ${percent(noise)} (${c.spread !== null ? `${run.seeds.length} seeds` : "split"})` : ""}`;
  const scores = run.trials.filter((t) => t.candidate === index && t.top1 !== null).map((t) => `seed ${t.seed}: ${percent(t.top1)}`);
  return [
    `${nameOf(c)} · ${many(c.trials.length, "trial").replace(/^\d+ /, "")} ${c.trials.join(", ")}`, score,
    scores.length > 1 ? scores.join(", ") : "", costs.join("\n"), c.text, c.error,
  ].filter(Boolean).join("\n");
}

const nameOf = (c) => c.title;

function span(values, margin) {
  const low = Math.min(...values), high = Math.max(...values);
  const room = Math.max((high / low) ** margin, 1.03);
  return { low: low / room, high: high * room };
}

function accuracyAxis(found) {
  const edges = found.flatMap((c) => [c.top1 - (noiseOf(c) || 0), c.top1 + (noiseOf(c) || 0)]);
  const low = Math.max(0, Math.min(...edges) - 0.03), high = Math.min(1.02, Math.max(...edges) + 0.05);
  return { low, high: Math.max(high, low + 0.1), show: (v) => (100 * v).toFixed(high - low < 0.06 ? 1 : 0), title: "top-1 on validation (%)" };
}

// The cost's unit is in the title, so that ticks are plain numbers.
function costAxis(cost, values, margin = 0.08) {
  const { low, high } = span(values, margin);
  const [size, prefix] = cost.unit === "s" || cost.unit === "ms" ? [1, ""] : PREFIXES.find(([size]) => high >= size * 2) || [1, ""];
  return { low, high, log: true, show: (v) => digits(v / size, 4), title: `${cost.name} (${prefix}${cost.unit}, log scale)` };
}

// --- the front -------------------------------------------------------------------------------------------------------

function frontPlot(runs, state, pick) {
  const single = runs.length === 1;
  const shown = () => runs.map((run) => run.candidates.map((c, index) => ({ c, index })).filter(({ c }) => (single || c.inherit === null) && c.state === "complete" && c.costs[state.cost] !== null));
  return plot({
    label: "Accuracy against cost: all complete candidates, and the front as a line. Arrow keys move from candidate to candidate.",
    height: 470,
    axes: () => {
      const all = shown().flat().map(({ c }) => c);
      const cost = runs.flatMap((run) => run.costs).find((each) => each.key === state.cost);
      return { x: costAxis(cost, all.map((c) => c.costs[state.cost])), y: accuracyAxis(all) };
    },
    draw: (area) => {
      const marks = [];
      runs.forEach((run, place) => {
        const color = single ? "var(--front)" : COLORS[place % COLORS.length];
        const spot = (c) => [area.sx(c.costs[state.cost]), area.sy(c.top1)];
        const found = shown()[place];
        const front = run.fronts[state.cost] || [];
        const on = new Set(front);
        const crowded = found.length > 150;
        for (const { c, index } of found) {
          const [x, y] = spot(c);
          if (!crowded || on.has(index)) bar(area, x, c.top1, noiseOf(c));
          if (c.inherit !== null) area.root.append(dot(x, y, 5, "var(--paper)", { stroke: "var(--good)", "stroke-width": 1.6 }));
          else if (!on.has(index)) area.root.append(dot(x, y, crowded ? 3 : 4.5, single ? "var(--dot)" : color, { "fill-opacity": single ? 0.75 : 0.35 }));
          marks.push({ x, y, text: (single ? "" : `${run.name}: `) + describe(run, index), pick: () => pick(run, index) });
        }
        area.root.append(line(stairs(front.map((i) => spot(run.candidates[i])), area.box.right), color, 2.2, single ? {} : { "stroke-dasharray": ["", "7 3", "2 3", "9 3 2 3"][place % 4] }));
        for (const i of front) area.root.append(dot(...spot(run.candidates[i]), 6, color));
        if (single) area.root.append(line(stairs(run.inherited_fronts[state.cost].map((i) => spot(run.candidates[i])), area.box.right), "var(--good)", 1.6, { "stroke-dasharray": "7 4" }));
        const way = single && state.path ? run.path.filter((i) => run.candidates[i].costs[state.cost] !== null) : [];
        area.root.append(line(way.map((i) => spot(run.candidates[i])), "var(--way)", 1.6, { "stroke-dasharray": "5 4" }));
        for (const i of way) area.root.append(diamond(...spot(run.candidates[i]), 4.5, "var(--way)"));
        const named = found.length <= 16 ? found.map(({ index }) => index) : front;
        if (single) labels(area, named.map((i) => ({ x: spot(run.candidates[i])[0], y: spot(run.candidates[i])[1], text: nameOf(run.candidates[i]) })), marks.map((m) => [m.x, m.y]), "var(--ink)");
      });
      if (single) {
        const entries = [[(x, y) => dot(x, y, 4.5, "var(--dot)"), "candidate"], [(x, y) => dot(x, y, 6, "var(--front)"), "front"]];
        if (runs[0].inherited.length) entries.push([(x, y) => dot(x, y, 5, "var(--paper)", { stroke: "var(--good)", "stroke-width": 1.6 }), "inherited weights"]);
        if (runs[0].path.length && state.path) entries.push([(x, y) => diamond(x, y, 4.5, "var(--way)"), "chosen"]);
        legend(area, entries);
      }
      return marks;
    },
  });
}

// --- the expansion, as in X3D's figure: each step's candidates connected to their base ---------------------------------

function expansionPlot(run, pick) {
  const steps = run.steps.filter((step) => step.kind !== "start");
  const cost = run.costs.find((each) => each.key === "macs");
  const scored = (index) => index !== null && run.candidates[index].top1 !== null;
  const drawnSteps = steps.filter((step) => step.entries.some((entry) => entry.top1 !== null));
  const all = [...new Set(drawnSteps.flatMap((step) => [step.base, ...step.entries.map((e) => e.candidate)]))].filter(scored);
  return plot({
    label: "The expansion step by step: each candidate is connected to its base.",
    height: 470,
    caption: `Thin lines: all trained candidates of a step, from the network they were grown from. Thick lines: the chosen ones, with their axis. ± as above.`,
    axes: () => ({ x: costAxis(cost, all.map((i) => run.candidates[i].costs.macs), 0.06), y: accuracyAxis(all.map((i) => run.candidates[i])) }),
    draw: (area) => {
      const spot = (i) => [area.sx(run.candidates[i].costs.macs), area.sy(run.candidates[i].top1)];
      const wanted = [];
      for (const step of drawnSteps) for (const entry of step.entries)
        if (entry.top1 !== null && scored(step.base)) area.root.append(line([spot(step.base), spot(entry.candidate)], "var(--dot)", 1, { "stroke-opacity": 0.7 }));
      for (const step of drawnSteps) {
        if (step.chosen === null) continue;
        const entry = step.entries[step.chosen];
        if (scored(step.base) && scored(entry.candidate)) area.root.append(line([spot(step.base), spot(entry.candidate)], "var(--way)", 2.6, step.kind === "contract" ? { "stroke-dasharray": "5 4" } : {}));
      }
      const chosen = new Set(drawnSteps.filter((s) => s.chosen !== null).map((s) => s.entries[s.chosen].candidate));
      for (const i of all) {
        const [x, y] = spot(i);
        bar(area, x, run.candidates[i].top1, noiseOf(run.candidates[i]));
        const start = run.candidates[i].kind === "start";
        area.root.append(chosen.has(i) || start ? diamond(x, y, 6, "var(--way)") : dot(x, y, 4.5, "var(--dot)"));
      }
      for (const i of [...all].sort((a, b) => (chosen.has(b) ? 1 : 0) - (chosen.has(a) ? 1 : 0))) {
        const c = run.candidates[i];
        const text = c.kind === "start" ? "start" : (c.kind === "contract" ? "contract " : "") + c.axes.join(" = ");
        if (chosen.has(i) || all.length <= 30) wanted.push({ x: spot(i)[0], y: spot(i)[1], text });
      }
      labels(area, wanted, all.map(spot), "var(--ink)");
      legend(area, [[(x, y) => dot(x, y, 4.5, "var(--dot)"), "candidate"], [(x, y) => diamond(x, y, 6, "var(--way)"), "chosen"]]);
      return all.map((i) => ({ x: spot(i)[0], y: spot(i)[1], text: describe(run, i), pick: () => pick(run, i) }));
    },
  });
}

// --- hypervolume against training spent --------------------------------------------------------------------------------

function volumePlot(runs, state) {
  const macs = () => state.spent === "macs";
  const most = () => Math.max(...runs.flatMap((run) => run.volume.moments.map((m) => m[macs() ? 2 : 1])), 1e-9);
  const unit = () => {
    if (macs()) { const [size, prefix] = PREFIXES.find(([size]) => most() >= size) || [1, ""]; return [size, `${prefix}MACs`]; }
    return most() > 7200 ? [3600, "hours"] : most() > 120 ? [60, "minutes"] : [1, "seconds"];
  };
  return plot({
    label: "Hypervolume against training spent so far.",
    height: 340,
    axes: () => {
      const high = Math.max(...runs.flatMap((run) => run.volume.moments.map((m) => m[3]))) * 1.12 || 1;
      return {
        x: { low: 0, high: (most() * 1.02) / unit()[0], show: (v) => digits(v), title: `training spent, all workers together (${unit()[1]})` },
        y: { low: 0, high, show: (v) => (100 * v).toFixed(high < 0.1 ? 1 : 0), title: "best top-1, mean over the costs (%)" },
      };
    },
    draw: (area) => runs.flatMap((run, place) => {
      const color = runs.length === 1 ? "var(--front)" : COLORS[place % COLORS.length];
      const spots = run.volume.moments.map((m) => [area.sx(m[macs() ? 2 : 1] / unit()[0]), area.sy(m[3])]);
      area.root.append(line(stairs([[area.sx(0), area.sy(0)], ...spots], spots.length ? spots[spots.length - 1][0] : area.box.left), color, 2.2));
      const states = new Map(run.trials.map((t) => [t.number, t.state]));
      return spots.map(([x, y], i) => {
        const [number, seconds, spent, volume] = run.volume.moments[i];
        if (spots.length <= 60) area.root.append(dot(x, y, 3.4, color));
        return { x, y, text: `${runs.length > 1 ? `${run.name}: ` : ""}after trial ${number} (${states.get(number)})\n${percent(volume)} %\n${duration(seconds)}, ${amount(spent, "MACs")} of training` };
      });
    }),
  });
}

// --- learning curves --------------------------------------------------------------------------------------------------

const CURVES = { top1: "top-1 on validation (%)", val_loss: "validation loss", loss: "training loss" };

function curvesPlot(run, state) {
  const shown = () => run.trials.filter((t) => t.curve.epoch.length && matches(run, t.candidate, state.search));
  return plot({
    label: "Learning curves: those of the front in colour.",
    height: 400,
    axes: () => {
      const found = shown();
      const values = found.flatMap((t) => t.curve[state.curve]).filter((v) => v !== null);
      const [low, high] = values.length ? [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))] : [0, 1];
      const last = found.reduce((most, t) => Math.max(most, t.curve.epoch[t.curve.epoch.length - 1]), 1);
      const room = (high - low || 0.1) * 0.06;
      const share = state.curve === "top1";
      return {
        x: { low: Math.min(1, last - 0.5), high: Math.max(last, 2), show: (v) => (Number.isInteger(v) ? String(v) : ""), title: "epoch" },
        y: { low: Math.max(0, low - room), high: high + room, show: (v) => (share ? digits(100 * v) : digits(v)), title: CURVES[state.curve] },
      };
    },
    draw: (area) => {
      const front = new Set(run.front);
      const found = shown().sort((a, b) => front.has(a.candidate) - front.has(b.candidate));
      const few = found.length <= 12;
      const marks = [], ends = [];
      let next = 0;
      for (const t of found) {
        const on = front.has(t.candidate);
        const color = few ? COLORS[next++ % COLORS.length] : on ? "var(--front)" : "var(--dot)";
        const spots = t.curve.epoch.map((epoch, i) => [epoch, t.curve[state.curve][i]]).filter((p) => p[1] !== null).map(([epoch, v]) => [area.sx(epoch), area.sy(v)]);
        if (!spots.length) continue;
        area.root.append(line(spots, color, on ? (found.length > 100 ? 1.4 : 2.2) : 1.2, { "stroke-opacity": on || few ? 1 : Math.max(0.25, 1 - found.length / 300) }));
        if (spots.length === 1) area.root.append(dot(...spots[0], 3.5, color));
        const [x, y] = spots[spots.length - 1];
        const c = run.candidates[t.candidate];
        if (on || few) ends.push({ x, y, text: nameOf(c) });
        marks.push({ x, y, text: `trial ${t.number}, seed ${t.seed}, ${t.state}\n${describe(run, t.candidate)}` });
      }
      labels(area, ends.length <= 14 ? ends : [], [], "var(--ink)");
      return marks;
    },
  });
}

function matches(run, index, search) {
  if (!search) return true;
  const c = run.candidates[index];
  const text = `${nameOf(c)} ${c.text} ${c.trials.map((n) => `trial ${n}`).join(" ")} ${run.front.includes(index) ? "front" : ""}`.toLowerCase();
  return search.toLowerCase().split(/\s+/).filter(Boolean).every((word) => text.includes(word));
}

// --- seeds: each network's scores, their mean, and what is beyond noise ------------------------------------------------

function seedsPlot(run, pick) {
  const { networks, least_difference: least } = run.comparison;
  const shown = networks.slice(0, 40);
  const every = shown.flatMap((n) => n.scores);
  const low = Math.max(0, Math.min(...every) - 0.03), high = Math.min(1.01, Math.max(...every) + 0.03);
  const row = 26;
  return plot({
    label: "Accuracy of each network with each seed.",
    height: Math.max(260, shown.length * row + 80),
    caption: `One dot per seed, a bar at the mean, best first${networks.length > shown.length ? `; the best ${shown.length} of ${networks.length}` : ""}.${least !== null ? " Means within the band cannot be distinguished from the best with these seeds; the necessary distance depends on how much the difference varies over seeds." : ""}`,
    exact: true,
    axes: () => ({
      x: { low, high, show: (v) => digits(100 * v), title: "top-1 on validation (%)" },
      y: { low: shown.length - 0.4, high: -0.6, show: () => "", title: "" },
    }),
    draw: (area) => {
      if (least !== null) area.root.append(svg("rect", { x: area.sx(Math.max(low, shown[0].top1 - least)), y: area.box.top, width: area.sx(shown[0].top1) - area.sx(Math.max(low, shown[0].top1 - least)), height: area.box.bottom - area.box.top, fill: "var(--front)", "fill-opacity": 0.09 }));
      return shown.map((n, i) => {
        const y = area.sy(i);
        for (const score of n.scores) area.root.append(dot(area.sx(score), y, 4.5, "var(--dot)", { "fill-opacity": 0.8 }));
        area.root.append(svg("rect", { x: area.sx(n.top1) - 1.5, y: y - 8, width: 3, height: 16, fill: "var(--front)" }));
        const left = area.sx(n.top1) > area.width / 2;
        const edge = left ? Math.min(...n.scores) : Math.max(...n.scores);
        area.root.append(svg("text", { class: "halo", x: area.sx(edge) + (left ? -10 : 10), y: y + 4, "text-anchor": left ? "end" : "start" }, n.label));
        return { x: area.sx(n.top1), y, text: describe(run, n.candidate), pick: () => pick(run, n.candidate) };
      });
    },
  });
}
