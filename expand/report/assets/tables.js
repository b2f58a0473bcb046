// The tables of a run. A column is {title, cell, number, key, wide}; `key` makes it sortable.

function table(columns, rows, { tall = false, best = () => false, limit = 0 } = {}) {
  const head = el("tr"), body = el("tbody");
  let order = rows, sorted = null, up = true, most = limit;
  const more = el("button", { type: "button", onclick: () => { most = 0; render(); } });
  const render = () => {
    const shown = most ? order.slice(0, most) : order;
    body.replaceChildren(...shown.map((row) => el("tr", { class: best(row) ? "best" : null },
      columns.map((column) => el("td", { class: [column.number && "number", column.wide && "wide"].filter(Boolean).join(" ") || null }, column.cell(row))))));
    more.textContent = `show all ${rows.length.toLocaleString("en")}`;
    more.hidden = !most || rows.length <= most;
  };
  for (const column of columns) {
    const cell = el("th", { class: column.number ? "number" : null, scope: "col" });
    const sort = () => {
      up = sorted === column ? !up : !column.number;
      sorted = column;
      const worth = (row) => { const key = column.key(row); return key === null || key === undefined ? (up ? Infinity : -Infinity) : key; };
      order = [...rows].sort((a, b) => { const [x, y] = [worth(a), worth(b)]; return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1); });
      for (const each of head.children) each.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", up ? "ascending" : "descending");
      render();
    };
    cell.append(column.key ? el("button", { type: "button", title: "sort", onclick: sort }, column.title) : column.title);
    head.append(cell);
  }
  render();
  window.addEventListener("beforeprint", () => { most = 0; render(); });
  return el("div", {}, el("div", { class: tall ? "scroll tall" : "scroll", tabindex: tall ? 0 : null }, el("table", {}, el("thead", {}, head), body)), more);
}

const stateCell = (state) => el("span", { class: `state-${state}` }, state === "pruned" ? "stopped early" : state);

function scoreText(c) {
  if (c.top1 === null) return "–";
  return percent(c.top1) + (noiseOf(c) !== null ? ` ± ${percent(noiseOf(c))}` : "");
}

function frontTable(run, cost) {
  const rows = (run.fronts[cost.key] || []).map((index) => run.candidates[index]);
  const others = run.costs.filter((each) => each.key !== cost.key && ["macs", "params"].includes(each.key));
  return table([
    { title: cost.name, number: true, cell: (c) => amount(c.costs[cost.key], cost.unit), key: (c) => c.costs[cost.key] },
    { title: "top-1 %", number: true, cell: scoreText, key: (c) => c.top1 },
    ...others.map((each) => ({ title: each.name, number: true, cell: (c) => amount(c.costs[each.key], each.unit), key: (c) => c.costs[each.key] })),
    { title: "network", cell: nameOf, key: nameOf },
    { title: "trials", cell: (c) => c.trials.join(", ") },
    { title: "architecture", wide: true, cell: (c) => c.text },
  ], rows);
}

function inheritedTable(run) {
  const of = (row) => run.candidates[row.candidate];
  return table([
    { title: "multiply-adds", number: true, cell: (row) => amount(of(row).costs.macs, "MACs"), key: (row) => of(row).costs.macs },
    { title: "top-1 %", number: true, cell: (row) => (of(row).top1 === null ? stateCell(of(row).state) : scoreText(of(row))), key: (row) => of(row).top1 },
    { title: "from scratch %", number: true, cell: (row) => (row.scratch === null ? "not trained" : scoreText(run.candidates[row.scratch])) },
    { title: "epochs", number: true, cell: (row) => row.epochs, key: (row) => row.epochs },
    { title: "from scratch", number: true, cell: (row) => row.scratch_epochs },
    { title: "training", number: true, cell: (row) => amount(row.macs, "MACs"), key: (row) => row.macs },
    { title: "from scratch", number: true, cell: (row) => amount(row.scratch_macs, "MACs"), key: (row) => row.scratch_macs },
    { title: "before training %", number: true, cell: (row) => (row.before === null ? "–" : percent(row.before)) + (row.differences.length ? ` (${row.differences.join(", ")})` : "") },
    { title: "trials", cell: (row) => row.lineage.join(" > ") },
    { title: "architecture", wide: true, cell: (row) => of(row).text },
  ], run.inherited, { best: (row) => row.on_front });
}

function stepTable(run, step) {
  return table([
    { title: "axis", cell: (e) => e.axes.join(" = ") || step.kind },
    { title: "change", wide: true, cell: (e) => e.change },
    { title: "multiply-adds", number: true, cell: (e) => amount(run.candidates[e.candidate].costs.macs, "MACs") },
    { title: "× base", number: true, cell: (e) => e.ratio.toFixed(2) },
    { title: "top-1 %", number: true, cell: (e) => scoreText(e) },
    { title: "state", cell: (e) => stateCell(e.state) },
    { title: "trials", cell: (e) => run.candidates[e.candidate].trials.join(", ") },
  ], step.entries, { best: (entry) => entry === step.entries[step.chosen] });
}

function payoffTable(run) {
  return table([
    { title: "axis", cell: (p) => p.axis, key: (p) => p.axis },
    { title: "points per doubling", number: true, cell: (p) => points(p.mean) + (p.standard_error !== null ? ` ± ${percent(p.standard_error)}` : ""), key: (p) => p.mean },
    { title: "each step", cell: (p) => p.gains.map(points).join("  ") || "–" },
    { title: "chosen / offered", number: true, cell: (p) => `${p.chosen} / ${p.offered}`, key: (p) => p.chosen },
  ], run.payoffs);
}

function seedsTable(run) {
  const { networks, seeds } = run.comparison;
  return table([
    { title: "network", cell: (n) => n.label, key: (n) => n.label },
    { title: "multiply-adds", number: true, cell: (n) => amount(run.candidates[n.candidate].costs.macs, "MACs"), key: (n) => run.candidates[n.candidate].costs.macs },
    { title: "parameters", number: true, cell: (n) => amount(run.candidates[n.candidate].costs.params, "params"), key: (n) => run.candidates[n.candidate].costs.params },
    { title: "top-1 % ± seeds", number: true, cell: (n) => scoreText(run.candidates[n.candidate]), key: (n) => n.top1 },
    { title: `seeds ${seeds.join(", ")}`, number: true, cell: (n) => n.scores.map(percent).join("  ") },
    { title: "beats beyond noise", wide: true, cell: (n) => n.beats || "–" },
  ], networks, { limit: 40 });
}

function trialsTable(run, trials) {
  const of = (t) => run.candidates[t.candidate];
  return table([
    { title: "trial", number: true, cell: (t) => t.number, key: (t) => t.number },
    { title: "state", cell: (t) => [stateCell(t.state), t.interrupted && t.state === "running" ? " (interrupted)" : ""], key: (t) => t.state },
    { title: "network", cell: (t) => nameOf(of(t)), key: (t) => nameOf(of(t)) },
    { title: "seed", number: true, cell: (t) => t.seed, key: (t) => t.seed },
    { title: "top-1 %", number: true, cell: (t) => percent(t.top1), key: (t) => t.top1 },
    { title: "multiply-adds", number: true, cell: (t) => amount(of(t).costs.macs, "MACs"), key: (t) => of(t).costs.macs },
    { title: "parameters", number: true, cell: (t) => amount(of(t).costs.params, "params"), key: (t) => of(t).costs.params },
    { title: "epochs", number: true, cell: (t) => `${t.curve.epoch.length} of ${t.epochs}`, key: (t) => t.curve.epoch.length },
    { title: "training", number: true, cell: (t) => (t.seconds ? duration(t.seconds) : "–"), key: (t) => t.seconds },
    { title: "architecture", wide: true, cell: (t) => of(t).text },
  ], trials, { tall: trials.length > 60, limit: 200 });
}

function reasonsTable(run, trials) {
  return table([
    { title: "trial", number: true, cell: (t) => t.number, key: (t) => t.number },
    { title: "state", cell: (t) => stateCell(t.state), key: (t) => t.state },
    { title: "network", cell: (t) => nameOf(run.candidates[t.candidate]) },
    { title: "reason", wide: true, cell: (t) => t.error || (t.state === "pruned" ? `stopped after epoch ${t.curve.epoch.length} of ${t.epochs}` : "none recorded") },
    { title: "attempts", number: true, cell: (t) => t.attempts },
    { title: "multiply-adds", number: true, cell: (t) => amount(run.candidates[t.candidate].costs.macs, "MACs") },
    { title: "architecture", wide: true, cell: (t) => run.candidates[t.candidate].text },
  ], trials, { tall: trials.length > 60, limit: 200 });
}

function predictedTable(run) {
  return table([
    { title: "trial", number: true, cell: (r) => r.number, key: (r) => r.number },
    { title: "candidate", cell: (r) => r.label },
    { title: "multiply-adds", number: true, cell: (r) => amount(r.macs, "MACs"), key: (r) => r.macs },
    { title: "predicted", number: true, cell: (r) => `${percent(r.predicted)} ± ${percent(r.deviation)} %`, key: (r) => r.predicted },
    { title: "measured", number: true, cell: (r) => (r.top1 === null ? "not trained to its end" : `${percent(r.top1)} %`), key: (r) => r.top1 },
    { title: "difference", number: true, cell: (r) => (r.top1 === null ? "" : `${points(r.top1 - r.predicted)} points`), key: (r) => (r.top1 === null ? null : r.top1 - r.predicted) },
  ], run.predicted.rows, { tall: run.predicted.rows.length > 60 });
}

function plannedTable(run) {
  return table([
    { title: "trial", number: true, cell: (r) => r.trial, key: (r) => r.trial },
    { title: "candidate", cell: (r) => r.label + (r.fitted ? " *" : "") },
    { title: "multiply-adds", number: true, cell: (r) => amount(r.macs, "MACs"), key: (r) => r.macs },
    { title: "planned", number: true, cell: (r) => duration(r.planned_seconds), key: (r) => r.planned_seconds },
    { title: "took", number: true, cell: (r) => duration(r.seconds), key: (r) => r.seconds },
    { title: "error", number: true, cell: (r) => `${points(r.error)} %`, key: (r) => r.error },
    { title: "processor time", number: true, cell: (r) => (r.planned_cpu_seconds && r.cpu_seconds ? `${points(r.planned_cpu_seconds / r.cpu_seconds - 1)} %` : "–") },
    { title: "memory planned", number: true, cell: (r) => (r.planned_peak_bytes ? `${digits(r.planned_peak_bytes / 1e6)} MB` : "–") },
    { title: "memory actual", number: true, cell: (r) => (r.peak_bytes ? `${digits(r.peak_bytes / 1e6)} MB` : "–") },
  ], run.planned.rows, { tall: run.planned.rows.length > 60 });
}

function classesTable(run) {
  const splits = ["train", "val", "test"];
  const rows = Object.entries(run.about.classes);
  return table([
    { title: "class", cell: (r) => r[0], key: (r) => r[0] },
    ...splits.map((split) => ({ title: split, number: true, cell: (r) => r[1][split] || 0, key: (r) => r[1][split] || 0 })),
  ], rows, { tall: rows.length > 60 });
}

// The networks that were scored on the test split, the most accurate first; `best` is marked.
function testsTable(run, tests) {
  const of = (t) => run.candidates.find((c) => c.trials.includes(t.trial));
  const validated = (t) => run.trials.find((each) => each.number === t.trial).top1;
  return table([
    { title: "test top-1 %", number: true, cell: (t) => `${percent(t.top1)} ± ${percent(t.standard_error)}`, key: (t) => t.top1 },
    { title: "validation top-1 %", number: true, cell: (t) => percent(validated(t)), key: validated },
    { title: "multiply-adds", number: true, cell: (t) => amount(of(t).costs.macs, "MACs"), key: (t) => of(t).costs.macs },
    { title: "network", cell: (t) => nameOf(of(t)), key: (t) => nameOf(of(t)) },
    { title: "trial", number: true, cell: (t) => t.trial, key: (t) => t.trial },
    { title: "videos", number: true, cell: (t) => t.videos },
    { title: "views", cell: (t) => `${t.views} of ${t.crop} pixels` },
  ], tests);
}

function testClassesTable(test) {
  return table([
    { title: "class", cell: (c) => c.name, key: (c) => c.name },
    { title: "videos", number: true, cell: (c) => c.videos, key: (c) => c.videos },
    { title: "right", number: true, cell: (c) => c.right, key: (c) => c.right },
    { title: "%", number: true, cell: (c) => percent(c.accuracy), key: (c) => c.accuracy },
    { title: "95 % interval", number: true, cell: (c) => (c.low === null ? "–" : `${percent(c.low)} to ${percent(c.high)}`) },
  ], test.classes, { tall: test.classes.length > 60 });
}

// Rows are the truth, columns the answers; a cell is darker the larger its share of the row.
function confusionTable(test) {
  const names = test.classes.map((c) => c.name);
  const cell = (count, total, right) => el("td", { class: "count", title: `${count} of ${total}`, style: count ? `background:color-mix(in srgb, var(${right ? "--front" : "--way"}) ${Math.round(12 + 55 * count / total)}%, transparent)` : null }, count || "");
  return el("div", { class: "scroll" }, el("table", { class: "confusion" },
    el("thead", {}, el("tr", {}, el("th", {}, "truth \\ answer"), names.map((name) => el("th", { class: "slim", scope: "col" }, name)))),
    el("tbody", {}, test.confusion.map((row, place) => {
      const total = row.reduce((sum, count) => sum + count, 0);
      return el("tr", {}, el("th", { scope: "row" }, names[place]), row.map((count, column) => cell(count, total, column === place)));
    }))));
}

// A setting as a user would type it: fractions with at most six digits.
const plainly = (value) => (typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(6))) : typeof value === "object" && value !== null ? JSON.stringify(value, (_, inner) => (typeof inner === "number" ? Number(inner.toPrecision(6)) : inner)) : String(value));

// Names and values of plain settings; nested ones with their path.
function valuesTable(values) {
  const rows = [];
  const walk = (value, path) => {
    const nested = value !== null && typeof value === "object" && !Array.isArray(value);
    if (nested) for (const [key, inner] of Object.entries(value)) walk(inner, path ? `${path}.${key}` : key);
    else rows.push([path, value === null ? "none" : Array.isArray(value) ? value.map(plainly).join(", ") || "none" : plainly(value)]);
  };
  walk(values, "");
  return el("div", { class: "scroll" }, el("table", {}, el("tbody", {}, rows.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value))))));
}
