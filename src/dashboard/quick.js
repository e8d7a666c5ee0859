// What a person reads first: one sentence; under it the quick score with its controls, the effective rank, and the
// trainer's loss. `page.js` calls `askQuick` and `drawQuick`; helpers are its own.
"use strict";

async function askQuick(run, ridge) {
  if (run === null) return null;
  const of = `run=${encodeURIComponent(run)}`;
  const verdict = await ask(`/verdict?${of}`);
  if (!ridge) return { verdict, r2: [], rank: [], controls: [] };
  const items = async (metric) => (await ask(`/probes?limit=1000&head=ridge&metric=${metric}&${of}`)).items;
  const [r2, rank, controls] = await Promise.all([items("quick_r2"), items("effective_rank"), ask(`/controls?head=ridge&${of}`)]);
  return { verdict, r2, rank, controls: controls.items };
}

function drawVerdict(verdict) {
  at("verdict").hidden = !verdict;
  if (!verdict) return;
  at("verdict").className = `card ${ADVICE[verdict.verdict] || ""}`;
  at("sentence").textContent = verdict.sentence.charAt(0).toUpperCase() + verdict.sentence.slice(1) + ".";
  const { trend, change } = verdict.findings;
  const about = `Verdict: ${verdict.verdict.replace("_", " ")}, by ${verdict.metric} of head ${verdict.head} up to epoch ${verdict.epoch ?? "–"}. `;
  const rests = change
    ? `Intervals: 95% over ${change.comparison.n_events} events; a difference of ${digits(change.comparison.detectable)} would be told with 80% power.`
    : trend.n_events ? `Trend: over ${trend.k} points and ${trend.n_events} events.` : "";
  at("rests").textContent = about + rests;
}

// Controls of a metric as bands and lines across a chart, with their names.
function controlShapes(controls, metric, yref, colour) {
  const own = controls.filter((c) => c.metric === metric && c.value !== null);
  const shapes = own.map((c) => ({
    type: c.low === null ? "line" : "rect", layer: "below", xref: "paper", x0: 0, x1: 1, yref,
    y0: c.low ?? c.value, y1: c.high ?? c.value,
    fillcolor: colour("quiet"), opacity: c.low === null ? 0.8 : 0.25,
    line: { color: colour("quiet"), width: c.low === null ? 1 : 0, dash: "dash" } }));
  const annotations = own.map((c) => ({
    xref: "paper", x: 1, xanchor: "right", yref, y: c.high ?? c.value, yanchor: "bottom", showarrow: false,
    text: CONTROLS[c.control], font: { size: 11, color: colour("quiet") } }));
  return { shapes, annotations };
}

function drawQuick({ verdict, r2, rank, controls }) {
  drawVerdict(verdict);
  const scored = r2.filter((i) => i.value !== null);
  at("quick").hidden = scored.length === 0;
  if (scored.length === 0) return;
  const colours = getComputedStyle(document.documentElement);
  const colour = (name) => colours.getPropertyValue(`--${name}`).trim();
  const losses = r2.filter((i) => i.context && i.context.train_loss !== undefined);
  const loss = (i) => i.context.train_loss?.value ?? i.context.train_loss;
  const line = (items, value, yaxis, name, tint) => ({
    x: items.map((i) => i.epoch), y: items.map(value), yaxis, name, mode: "lines+markers",
    line: { color: tint, width: 2 }, marker: { size: 5, color: tint }, hovertemplate: `epoch %{x}<br>${name} <b>%{y:.3f}</b><extra></extra>` });
  const traces = [
    line(scored, (i) => i.value, "y", "R² of water in a patch", colour("accent")),
    line(rank.filter((i) => i.value !== null), (i) => i.value, "y2", "effective rank", colour("good")),
    line(losses, loss, "y3", "the trainer's loss", colour("wait")),
  ];
  const axis = { gridcolor: colour("grid"), zeroline: false, linecolor: colour("line") };
  const across = controlShapes(controls, "quick_r2", "y", colour);
  const since = verdict.findings.change?.since;
  if (since !== undefined) {
    across.shapes.push({ type: "line", x0: since, x1: since, yref: "paper", y0: 0, y1: 1, line: { color: colour("bad"), width: 1.5, dash: "dot" } });
    across.annotations.push({ x: since, yref: "paper", y: 1, xanchor: "left", yanchor: "top", showarrow: false,
      text: `epoch ${since}`, font: { size: 11, color: colour("bad") } });
  }
  Plotly.react(at("quick-chart"), traces, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 58, r: 16, t: 10, b: 42 }, hovermode: "closest",
    font: { color: colour("text"), family: getComputedStyle(document.body).fontFamily, size: 12.5 }, showlegend: false,
    xaxis: { ...axis, title: { text: "epoch of the trainer" }, anchor: "y3", tickformat: "d" },
    yaxis: { ...axis, domain: [0.52, 1], title: { text: "quick R²" } },
    yaxis2: { ...axis, domain: [0.27, 0.47], title: { text: "effective rank" }, rangemode: "tozero" },
    yaxis3: { ...axis, domain: [0, 0.22], title: { text: "loss" } },
    ...across,
  }, { responsive: true, displaylogo: false, displayModeBar: false });
}
