// The page: asks the API when it tells of a change, else every two seconds, and redraws only what changed.
"use strict";

const at = (id) => document.getElementById(id);
// `line`: of `head`; null: its newest. `epoch`: whose probe is told whole; null: the last with a score.
const chosen = { run: null, metric: "iou_event", head: null, line: null, epoch: null };
const shown = {};

class NeedsToken extends Error {}

async function ask(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (answer.status === 401) throw new NeedsToken();
  const body = await answer.json();
  if (!answer.ok && path !== "/readyz") throw new Error(body.detail);
  return body;
}

// What changes only with what it is asked for is asked for once.
const kept = new Map();
async function askOnce(key, path) {
  if (!kept.has(key)) {
    if (kept.size > 60) kept.clear();
    kept.set(key, await ask(path));
  }
  return kept.get(key);
}

async function series(query) {
  const items = [];
  let page, cursor = "";
  do {
    page = await ask(`/probes?limit=1000&metric=${chosen.metric}${query}${cursor}`);
    items.push(...page.items);
    cursor = `&cursor=${page.next}`;
  } while (page.next !== null);
  return { ...page, items };
}

// Calls `draw` only where what it draws is not what it drew.
function once(name, data, draw) {
  const text = JSON.stringify(data);
  if (shown[name] === text) return;
  shown[name] = text;
  draw(data);
}

function make(tag, text, name) {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = text;
  if (name) node.className = name;
  return node;
}

const digits = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));

function drawReady(ready) {
  const look = { ready: "good", scanning: "wait" }[ready.status] || "bad";
  at("ready").className = `pill ${look}`;
  at("ready").textContent = ready.status === "scanning" ? "reading the data set" : ready.status;
  at("ready").title = "";
  at("problems").hidden = ready.problems.length === 0;
  at("problems").replaceChildren(...ready.problems.map((p) => {
    const since = make("small", `${p.reason}, since ${new Date(p.since).toLocaleString()}; it goes on by itself once that is over`);
    const line = make("p", p.message);
    line.append(since);
    return line;
  }));
}

// "CPU, because …"
function device(ready) {
  if (!ready.device) return ["–", "not known yet"];
  const name = ready.device === "cpu" ? "CPU" : ready.device;
  return [name, `because ${ready.device_reason === "asked for" ? "it was asked for" : ready.device_reason}`];
}

// How far a job is; before its worker starts, the launcher has it.
function progress(job) {
  if (!job || !job.progress) return null;
  const { stage, done, total } = job.progress;
  return stage === "launch" ? "waiting for the launcher (Slurm)" : `${stage} ${done} of ${total}`;
}

function drawRuns({ runs, run }) {
  at("run-label").hidden = runs.length === 0;
  at("run").replaceChildren(...runs.map((r) => {
    const option = make("option", r.finished_at ? `${r.run} (finished)` : r.run);
    option.value = r.run;
    option.selected = r.run === run;
    return option;
  }));
}

function drawFacts({ items, ready }) {
  const done = items.filter((i) => i.state === "done" && i.value !== null);
  const last = done.at(-1);
  const [label] = METRICS[chosen.metric];
  const better = LESS.includes(chosen.metric) ? (a, b) => a.value < b.value : (a, b) => a.value > b.value;
  const best = done.reduce((a, b) => (a && !better(b, a) ? a : b), undefined);
  const waiting = items.filter((i) => i.state === "queued").length;
  const busy = items.find((i) => i.state === "probing");
  const how = progress(busy);
  const set = ready.dataset;
  const facts = [
    [`Latest ${label}`, last ? digits(last.value) : "–", last ? `epoch ${last.epoch}, ${digits(last.low)} to ${digits(last.high)}` : "nothing scored yet"],
    [`Best ${label}`, best ? digits(best.value) : "–", best ? `epoch ${best.epoch}` : ""],
    ["Probes", `${done.length} done`, busy ? `epoch ${busy.epoch}: ${how || "running"}` : `${waiting} waiting`],
    ["Device", ...device(ready)],
    ["Data set", set ? `${set.chips} chips` : "–", set ? `${set.events.length} events · ${set.digest.slice(0, 12)}` : "not read yet"],
  ];
  at("facts").replaceChildren(...facts.map(([name, value, note]) => {
    const box = make("div");
    const dd = make("dd", value);
    dd.append(make("small", note));
    box.append(make("dt", name), dd);
    return box;
  }));
}

// Points that may be joined: scored, of one attempt and line, with no failure in between.
function segments(items) {
  const all = [];
  let open = null;
  for (const item of items) {
    const key = [item.attempt, item.line].join();
    if (item.state === "failed" || item.state === "cancelled") open = null;
    if (item.state !== "done") continue;
    if (item.value === null) { open = null; continue; }
    if (!open || open.key !== key) all.push((open = { key, items: [] }));
    open.items.push(item);
  }
  return all.map((segment) => segment.items);
}

// The words in which a line differs from the one before: "fit_steps 600 → 300".
function changes(line) {
  const text = (value) => (value === null ? "as implied" : Array.isArray(value) ? value.join(", ") || "none" : String(value));
  return line.changed.map((c) => `${c.word} ${text(c.from)} → ${text(c.to)}`).join(", ");
}

function drawUnder({ lines, head, line }) {
  const names = [...new Set([head, ...lines.map((l) => l.head)])].filter((name) => name !== "ridge");
  at("under").hidden = lines.length === 0;
  at("heads").replaceChildren(...names.map((name) => {
    const button = make("button", name);
    button.type = "button";
    button.setAttribute("aria-pressed", String(name === head));
    button.addEventListener("click", () => { [chosen.head, chosen.line] = [name, null]; refresh(); });
    return button;
  }));
  const own = lines.filter((l) => l.head === head);
  at("line-label").hidden = own.length < 2;
  at("line").replaceChildren(...own.toReversed().map((l) => {
    const option = make("option", `${l.line}: epochs ${l.first_epoch} to ${l.last_epoch}${l.newest ? ", newest" : ""}`);
    option.value = l.line;
    option.selected = l.line === line;
    return option;
  }));
  at("breaks").replaceChildren(...own.filter((l) => l.changed).map((l) =>
    make("li", `Line ${l.line} begins at epoch ${l.first_epoch}: ${changes(l)}. Values of two lines may not be compared.`)));
}

function drawChart(items, others, own, controls) {
  const colours = getComputedStyle(document.documentElement);
  const colour = (name) => colours.getPropertyValue(`--${name}`).trim();
  const line = { x: [], y: [], above: [], below: [], hover: [] };
  const band = { x: [], y: [] };
  for (const part of segments(items)) {
    for (const i of part) {
      line.x.push(i.epoch);
      line.y.push(i.value);
      line.above.push(i.high === null ? 0 : i.high - i.value);
      line.below.push(i.low === null ? 0 : i.value - i.low);
      line.hover.push(`epoch ${i.epoch}, step ${i.global_step}<br><b>${digits(i.value)}</b> (${digits(i.low)} to ${digits(i.high)}), ${i.n_seeds} seeds`);
    }
    for (const list of [line.x, line.y, line.above, line.below, line.hover]) list.push(null);
    const framed = part.filter((i) => i.low !== null && i.high !== null);
    band.x.push(...framed.map((i) => i.epoch), ...framed.map((i) => i.epoch).reverse(), null);
    band.y.push(...framed.map((i) => i.high), ...framed.map((i) => i.low).reverse(), null);
  }
  // Lines of the same head under another key: told apart, never joined.
  const old = { x: [], y: [], hover: [] };
  for (const { items: points, told } of others) {
    for (const part of segments(points)) {
      for (const i of part) {
        old.x.push(i.epoch);
        old.y.push(i.value);
        old.hover.push(`epoch ${i.epoch}, line ${told.line}<br><b>${digits(i.value)}</b> (${digits(i.low)} to ${digits(i.high)})`);
      }
      for (const list of [old.x, old.y, old.hover]) list.push(null);
    }
  }
  const noted = items.filter((i) => i.value !== null && i.notes && (i.notes.length > 0 || i.null_fits > 0));
  const remark = (i) => [...i.notes, ...(i.null_fits > 0 ? [`${i.null_fits} fits without a score`] : [])].join(", ");
  const rail = items.filter((i) => i.state !== "done" || i.value === null);
  const mark = (i) => i.reason === "other-line" ? "diamond-open"
    : { failed: "x", cancelled: "x", done: "x", probing: "circle", queued: "circle-open" }[i.state] || "line-ns-open";
  const tint = (i) => colour(i.reason === "other-line" ? "quiet"
    : { failed: "bad", done: "bad", probing: "accent", queued: "wait" }[i.state] || "quiet");
  const loss = chosen.metric === "loss";
  const traces = [
    { x: band.x, y: band.y, fill: "toself", fillcolor: colour("band"), line: { width: 0 }, mode: "lines", hoverinfo: "skip", name: "spread over seeds" },
    { x: line.x, y: line.y, mode: "lines+markers", line: { color: colour("accent"), width: 2 }, marker: { size: 7 }, name: "mean over seeds",
      error_y: { type: "data", symmetric: false, array: line.above, arrayminus: line.below, thickness: 1, width: 3, color: colour("accent") },
      text: line.hover, hovertemplate: "%{text}<extra></extra>" },
    { x: old.x, y: old.y, mode: "lines+markers", line: { color: colour("quiet"), width: 1.5, dash: "dot" }, marker: { size: 6 }, name: "other lines",
      visible: old.x.length > 0, text: old.hover, hovertemplate: "%{text}<extra></extra>" },
    { x: noted.map((i) => i.epoch), y: noted.map((i) => i.value), mode: "markers", name: "read with care", visible: noted.length > 0,
      marker: { symbol: "circle-open", size: 15, color: colour("wait"), line: { width: 2, color: colour("wait") } },
      text: noted.map((i) => `epoch ${i.epoch}: ${remark(i)}`), hovertemplate: "%{text}<extra></extra>" },
    { x: rail.map((i) => i.epoch), y: rail.map(() => 0.025), yaxis: "y2", mode: "markers", name: "without a score",
      marker: { symbol: rail.map(mark), color: rail.map(tint), size: 9, line: { width: 1.5, color: rail.map(tint) } },
      text: rail.map((i) => `epoch ${i.epoch}: ${i.state}${i.reason ? ` – ${i.reason}` : ""}`), hovertemplate: "%{text}<extra></extra>" },
  ];
  const across = controlShapes(controls, chosen.metric, "y", colour);
  const breaks = others.map(({ told }) => told).concat(own ? [own] : []).filter((l) => l.changed);
  const axis = { gridcolor: colour("grid"), zeroline: false, linecolor: colour("line"), fixedrange: false };
  const full = !loss && !at("zoom").checked;
  const layout = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", uirevision: `${chosen.run}${chosen.metric}${full}`,
    font: { color: colour("text"), family: getComputedStyle(document.body).fontFamily, size: 12.5 },
    margin: { l: 58, r: 16, t: 34, b: 46 }, hovermode: "closest", hoverlabel: { bgcolor: colour("card"), font: { color: colour("text") } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("quiet"), activecolor: colour("accent") },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    xaxis: { ...axis, title: { text: "epoch of the trainer" }, tickformat: "d" },
    yaxis: { ...axis, title: { text: METRICS[chosen.metric][1] }, ...(full ? { range: [0, 1] } : { autorange: true }) },
    yaxis2: { overlaying: "y", range: [0, 1], visible: false, fixedrange: true },
    shapes: across.shapes.concat(breaks.map((l) => ({ type: "line", x0: l.first_epoch - 0.5, x1: l.first_epoch - 0.5, yref: "paper", y0: 0, y1: 1,
      line: { color: colour("wait"), width: 1, dash: "dash" } }))),
    annotations: across.annotations.concat(breaks.map((l) => ({ x: l.first_epoch - 0.5, yref: "paper", y: 0.98, xanchor: "left", yanchor: "top", showarrow: false,
      text: `${l.changed.map((c) => c.word).join(", ")} changed`, font: { size: 11, color: colour("wait") } }))),
  };
  Plotly.react(at("chart"), traces, layout, {
    responsive: true, displaylogo: false, displayModeBar: innerWidth < 640 ? false : "hover", modeBarButtonsToRemove: ["select2d", "lasso2d"] });
  at("chart").removeAllListeners("plotly_click");
  at("chart").on("plotly_click", ({ points }) => { chosen.epoch = points[0].x; refresh(); });
}

const millions = (n) => (n >= 1e6 ? `${Math.round(n / 1e6)} M` : n.toLocaleString("en"));

// What was loaded: "encoder: 265 of 265 tensors, 311 M parameters, 0 unused, 540 foreign not read".
function loaded({ family, generation, told_by, parameters, tensors: t }) {
  return `encoder: ${t.loaded} of ${t.needed} tensors, ${millions(parameters)} parameters, ${t.unused} unused, ${t.foreign} foreign not read` +
    ` – ${family}, generation ${generation} (${told_by})`;
}

function drawProbe({ probe, curves }) {
  at("probe").hidden = !probe || !probe.encoder;
  if (at("probe").hidden) return;
  const p = probe.preparation;
  at("probe-title").textContent = `Probe of epoch ${probe.epoch}, step ${probe.global_step}`;
  at("encoder").textContent = loaded(probe.encoder);
  const list = (values, none) => (values.length ? values.join(", ") : none);
  at("prepared").textContent = `Prepared: inputs ${list(p.inputs, "its fixed bands")}; clouds ${p.clouds}; place and date ${p.latlon}; ` +
    `filled ${list(p.filled, "none")}; statistics ${p.statistics.slice(0, 12)}. On ${probe.device}, ` +
    `${Object.entries(probe.seconds).map(([stage, s]) => `${stage} ${s.toFixed(1)} s`).join(", ")}.`;
  const row = (cells, tag) => {
    const tr = make("tr");
    tr.append(...cells.map((text, i) => make(tag, text, i > 0 && i <= Object.keys(METRICS).length ? "number" : "")));
    return tr;
  };
  at("scores-head").replaceChildren(row(["Head", ...Object.values(METRICS).map(([label]) => label), "Fits", "Notes"], "th"));
  at("scores").replaceChildren(...Object.entries(probe.heads).filter(([, head]) => head.summary.iou).map(([name, head]) => {
    const score = (metric) => {
      const s = head.summary[metric];
      if (!s) return digits(null);
      return s.low === null ? digits(s.mean) : `${digits(s.mean)} (${digits(s.low)} to ${digits(s.high)})`;
    };
    const notes = Object.entries(head.notes).map(([note, n]) => `${note}: ${n} of ${head.n_fits}`);
    return row([name, ...Object.keys(METRICS).map(score), `${head.n_fits - head.null_fits} of ${head.n_fits}`, notes.join("; ")], "td");
  }));
  at("nulls").replaceChildren(...probe.fits.filter((f) => f.reason).map((f) =>
    make("p", `${f.head}, seed ${f.seed}, fold ${f.fold} has no score (${f.reason}): ${f.message}`)));
  drawCurves(curves);
}

// Curves hold what follows from counts of one side alone.
const curveMetric = () => (CURVES.includes(chosen.metric) ? chosen.metric : "iou");

function drawCurves({ head, curves }) {
  const drawn = curves.filter((c) => c.curve.length > 0);
  at("curves").hidden = drawn.length === 0;
  if (drawn.length === 0) return;
  const colours = getComputedStyle(document.documentElement);
  const colour = (name) => colours.getPropertyValue(`--${name}`).trim();
  const metric = curveMetric();
  const trace = (fit, side, n) => {
    const points = fit.curve.filter((c) => c.side === side);
    const dash = side === "train" ? "dot" : "solid";
    return { x: points.map((c) => c.fit_step), y: points.map((c) => c.metrics[metric]), mode: "lines", name: side, legendgroup: side,
      showlegend: n === 0, line: { color: colour(side === "train" ? "quiet" : "accent"), width: 1.2, dash },
      hovertemplate: `step %{x}, seed ${fit.seed}, fold ${fit.fold}, ${side}<br><b>%{y:.3f}</b><extra></extra>` };
  };
  const axis = { gridcolor: colour("grid"), zeroline: false, linecolor: colour("line") };
  Plotly.react(at("curves"), drawn.flatMap((fit, n) => [trace(fit, "train", n), trace(fit, "val", n)]), {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 58, r: 16, t: 24, b: 42 }, hovermode: "closest",
    font: { color: colour("text"), family: getComputedStyle(document.body).fontFamily, size: 12.5 },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    xaxis: { ...axis, title: { text: `fit step of ${head}` } }, yaxis: { ...axis, title: { text: METRICS[metric][0] } },
  }, { responsive: true, displaylogo: false, displayModeBar: false });
}

function drawSeries({ items, others, own, controls }) {
  const empty = items.length === 0;
  at("empty").hidden = !empty;
  at("chart").hidden = empty;
  at("zoom-label").hidden = empty || chosen.metric === "loss";
  const last = items.filter((i) => i.state === "done" && i.value !== null).at(-1);
  const other = items.filter((i) => i.reason === "other-line").length;
  at("meaning").textContent = last
    ? `Each point: mean over ${last.n_seeds} seeds of the head \`${last.head}\`${own ? ` (${own.settings.fit_steps} steps)` : ""} fitted on the frozen encoder, scored on ${last.n_chips} chips of ${last.n_events} events. ` +
      `Band and bars: ${INTERVALS[last.interval] || last.interval}. They hold the spread of the fit alone, not that of the choice of events. ` +
      (controls.length ? "Dashed lines and grey bands: the same head on what learnt nothing." : "No control is computed yet: a rising curve alone does not show that the encoder beats a random one.") +
      (other ? ` Diamonds at the foot: ${other} ${other === 1 ? "epoch has" : "epochs have"} no score on this line but on another, or of another head; posted again with "force", they are scored here.` : "")
    : empty ? "" : "Nothing is scored yet. Marks at the foot are epochs without a score; point at one for its reason.";
  if (empty) {
    at("how").textContent = `curl -X POST ${location.origin}/checkpoints \\\n  -H 'content-type: application/json' \\\n  -d '{"path": "epoch-0.ckpt"}'`;
  } else {
    drawChart(items, others, own, controls);
  }
}

function drawCheckpoints({ items, next }) {
  at("checkpoints-table").hidden = items.length === 0;
  at("more").textContent = items.length === 0 ? "None seen yet." : next === null ? "" : `The newest ${items.length}; all are at /checkpoints.`;
  at("checkpoints").replaceChildren(...items.map((c) => {
    const row = make("tr");
    const state = make("td");
    state.append(make("span", c.state, `pill ${LOOKS[c.state] || ""}`));
    const why = make("td", null, "why");
    const due = c.due_reason ? `due: ${c.due_reason.replace("_", " ")}` : null;
    why.append(progress(c) || c.reason || due || "");
    if (c.message) why.append(make("small", c.message));
    const file = make("td", c.path.split("/").at(-1), "file");
    file.title = c.path;
    const seen = make("td", new Date(c.created_at).toLocaleTimeString());
    seen.title = c.created_at;
    row.append(make("td", c.epoch ?? "–", "number"), make("td", c.global_step ?? "–", "number"), state, why, file, seen);
    return row;
  }));
}

function drawMetrics() {
  at("metrics").replaceChildren(...Object.entries(METRICS).map(([name, [label]]) => {
    const button = make("button", label);
    button.type = "button";
    button.setAttribute("aria-pressed", String(name === chosen.metric));
    button.addEventListener("click", () => { chosen.metric = name; drawMetrics(); refresh(); });
    return button;
  }));
}

// A later call overtakes an earlier one, whose answers are then dropped.
let turn = 0;
let busy = false;
let refreshed = 0;
async function refresh() {
  const mine = ++turn;
  [busy, news, refreshed] = [true, false, Date.now()];
  try {
    const of = (name, value) => (value === null ? "" : `&${name}=${encodeURIComponent(value)}`);
    const under = chosen.line === null ? of("head", chosen.head) : of("line", chosen.line);
    const [ready, runs, curve] = await Promise.all([ask("/readyz"), ask("/runs?limit=1000"), series(of("run", chosen.run) + under)]);
    const run = of("run", curve.run);
    const [listed, { items: lines }] = await Promise.all([ask(`/checkpoints?limit=100${run}`), ask(`/lines?${run.slice(1)}`)]);
    const [quick, controls] = await Promise.all([askQuick(curve.run, lines.some((l) => l.head === "ridge")),
      curve.line === null ? { items: [] } : ask(`/controls?${run.slice(1)}&line=${curve.line}`)]);
    const own = lines.find((l) => l.line === curve.line);
    const others = await Promise.all(lines.filter((l) => l.head === curve.head && l !== own).slice(-6).map(async (told) => {
      const key = [curve.run, chosen.metric, told.line, told.points, told.last_epoch].join();
      const path = `/probes?limit=1000&metric=${chosen.metric}${run}&line=${told.line}&from=${told.first_epoch}&to=${told.last_epoch}`;
      return { told, items: (await askOnce(key, path)).items };
    }));
    const scored = curve.items.filter((i) => i.line !== null);
    const item = scored.find((i) => i.epoch === chosen.epoch) || scored.at(-1);
    const whole = { probe: null, curves: null };
    if (item) {
      const [key, query] = [[curve.run, item.epoch, item.global_step, item.line, item.finished_at, lines.length].join(), `${run}&line=${item.line}`.slice(1)];
      [whole.probe, whole.curves] = await Promise.all([
        askOnce(`probe ${key}`, `/probes/${item.epoch}?${query}`), askOnce(`curves ${key}`, `/probes/${item.epoch}/curves?${query}`)]);
    }
    if (mine !== turn) return;
    at("login").hidden = true;
    at("view").hidden = false;
    once("ready", ready, drawReady);
    if (quick) once("quick", quick, drawQuick);
    once("runs", { runs: runs.items, run: curve.run }, drawRuns);
    once("facts", { items: curve.items, ready, metric: chosen.metric }, drawFacts);
    once("under", { lines, head: curve.head, line: curve.line }, drawUnder);
    once("series", { items: curve.items, others, own, controls: controls.items, metric: chosen.metric, run: curve.run, zoom: at("zoom").checked }, drawSeries);
    once("probe", { ...whole, metric: chosen.metric }, drawProbe);
    once("checkpoints", listed, drawCheckpoints);
    listen();
  } catch (error) {
    if (mine !== turn) return;
    if (error instanceof NeedsToken) {
      at("login").hidden = false;
      at("view").hidden = true;
    }
    delete shown.ready;
    at("ready").className = "pill bad";
    at("ready").textContent = error instanceof NeedsToken ? "locked" : "not reachable";
    at("ready").title = error.message;
    at("problems").hidden = true;
  } finally {
    if (mine === turn) busy = false;
  }
}

at("run").addEventListener("change", (event) => { Object.assign(chosen, { run: event.target.value, line: null, epoch: null }); refresh(); });
at("line").addEventListener("change", (event) => { chosen.line = event.target.value; refresh(); });
at("zoom").addEventListener("change", refresh);
at("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify({ token: at("token").value });
  const answer = await fetch("/login", { method: "POST", headers: { "content-type": "application/json" }, body });
  at("login-error").textContent = answer.ok ? "" : (await answer.json()).detail;
  if (answer.ok) refresh();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { for (const name of ["series", "probe", "quick"]) delete shown[name]; refresh(); });

// Changes and progress ask for a look, at most once a second. Without the stream, a look every two seconds; with it, now
// and then, for what no event tells.
let source = null;
let news = false;
function listen() {
  if (document.hidden || (source && source.readyState !== EventSource.CLOSED)) return;
  source = new EventSource("/events");
  for (const name of ["change", "progress", "gap"]) source.addEventListener(name, () => { news = true; });
}
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) return refresh();
  if (source) source.close(); // a browser has few connections for each server
});
drawMetrics();
refresh();
setInterval(() => {
  const most = source && source.readyState === EventSource.OPEN ? 10000 : 2000;
  if (!document.hidden && ((news && !busy) || Date.now() - refreshed >= most)) refresh();
}, 1000);
