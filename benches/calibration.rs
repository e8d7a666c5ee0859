//! What the statistics hold to, by simulation: prints the tables of `docs/calibration.md`, exits with 1 where a bound breaks.
//!
//! `cargo bench --bench calibration` is the whole; `-- --quick` makes a twentieth of the draws, with the slack that so few
//! leave. Every cell and every run draws from its own ChaCha stream: the tables do not depend on threads or machine.

use std::{iter::repeat_with, ops::Range, process::ExitCode, time::Instant};

use clay_probe::statistics::{
    Alarm, Best, Point, Rule, Scale, Stage, Table, Tendency, Variances, Verdict, Watch, best, compare, detectable_from,
    trend,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, StandardNormal};
use rayon::prelude::*;

const SEED: u64 = 20_240_901;
const EVENTS: [usize; 5] = [3, 4, 6, 11, 18];
const SEEDS: [usize; 3] = [3, 5, 10];
const VARIANCES: [(&str, Variances); 4] = [
    ("1 : 0 : .3", Variances { event: 1.0, seed: 0.0, rest: 0.3 }),
    ("1 : 1 : 1", Variances { event: 1.0, seed: 1.0, rest: 1.0 }),
    (".2 : 1 : .3", Variances { event: 0.2, seed: 1.0, rest: 0.3 }),
    ("0 : 0 : 1", Variances { event: 0.0, seed: 0.0, rest: 1.0 }),
];
/// Events of the simulated runs, which have three seeds.
const RUN_EVENTS: [usize; 3] = [3, 4, 11];
const FALLS: [f64; 3] = [0.03, 0.05, 0.1];

/// A number of mean 0 and variance 1.
type Draw = fn(&mut ChaCha8Rng) -> f64;
/// A run's true score by epoch, less its first.
type Level = fn(u32) -> f64;

fn main() -> ExitCode {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let part = if quick { 20 } else { 1 };
    let (start, mut bounds) = (Instant::now(), Bounds { quick, broken: Vec::new() });
    comparisons(20_000 / part, &mut bounds);
    power(20_000 / part);
    level_runs(5_000 / part, &mut bounds);
    falls(5_000 / part, &mut bounds);
    trends(2_000 / part);
    bests(2_000 / part);
    eprintln!("{:.0} s on {} threads", start.elapsed().as_secs_f64(), rayon::current_num_threads());
    bounds.broken.iter().for_each(|bound| println!("\nBROKEN: {bound}"));
    if bounds.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Bounds that did not hold.
struct Bounds {
    quick: bool,
    broken: Vec<String>,
}

impl Bounds {
    fn at_most(&mut self, bound: f64, share: f64, draws: usize, what: &str) {
        self.hold(share <= bound + self.slack(bound, draws), what, share, bound);
    }

    fn at_least(&mut self, bound: f64, share: f64, draws: usize, what: &str) {
        self.hold(share >= bound - self.slack(bound, draws), what, share, bound);
    }

    /// The whole is held to the bound itself, a quick run to three standard errors beyond.
    fn slack(&self, bound: f64, draws: usize) -> f64 {
        if self.quick { 3.0 * (bound * (1.0 - bound) / draws as f64).sqrt() } else { 0.0 }
    }

    fn hold(&mut self, holds: bool, what: &str, share: f64, bound: f64) {
        if !holds {
            self.broken.push(format!("{what}: {:.2}%, bound {:.2}%", 100.0 * share, 100.0 * bound));
        }
    }
}

/// No margin, so that `equivalent` hides no `worse`.
fn scale() -> Scale {
    Scale::higher(0.0)
}

/// A stream of its own for every purpose and number.
fn stream(purpose: u64, number: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED + purpose);
    rng.set_stream(number as u64);
    rng
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(rng)
}

/// Of skewness 2.
fn skewed(rng: &mut ChaCha8Rng) -> f64 {
    let value: f64 = Exp1.sample(rng);
    value - 1.0
}

fn blank(events: usize, seeds: usize) -> Table {
    let cells = (0..events).flat_map(|e| (0..seeds as u64).map(move |s| (format!("event {e:02}"), s, Some(0.0))));
    Table::new(cells)
}

fn title(name: &str, note: &str, columns: &[String]) {
    println!("\n### {name}\n\n{note}\n\n| | {} |\n|---|{}", columns.join(" | "), "---:|".repeat(columns.len()));
}

fn row(name: &str, shares: &[f64]) {
    let shares: Vec<String> = shares.iter().map(|share| format!("{:.1}%", 100.0 * share)).collect();
    println!("| {name} | {} |", shares.join(" | "));
}

fn mean(values: impl ParallelIterator<Item = f64>, n: usize) -> f64 {
    values.sum::<f64>() / n as f64
}

fn share(n: usize, holds: impl Fn(usize) -> bool + Sync) -> f64 {
    (0..n).into_par_iter().filter(|&number| holds(number)).count() as f64 / n as f64
}

/// One row of comparisons, a cell for each of [`EVENTS`].
struct Comparisons {
    name: String,
    variances: Variances,
    seeds: usize,
    draw: Draw,
    /// Whether the differences are of the size `detectable`; else there are none.
    detectable: bool,
}

impl Comparisons {
    fn rows(cases: &[(&str, Variances)], draw: Draw, detectable: bool) -> Vec<Self> {
        let each = cases.iter().flat_map(|&case| SEEDS.map(|seeds| (case, seeds)));
        each.map(|((name, variances), seeds)| {
            let name = format!("{name}, {seeds} seeds");
            Self { name, variances, seeds, draw, detectable }
        })
        .collect()
    }

    /// The shares of `better` or `worse` among `n` a cell.
    fn told(&self, n: usize, number: usize) -> Vec<f64> {
        let cell = |(at, events): (usize, usize)| {
            let (cells, mut rng) = (blank(events, self.seeds), stream(1, 10 * number + at));
            let size = if self.detectable { detectable_from(self.variances, events, self.seeds) } else { None };
            let told = |_: &usize| {
                let table = self.differences(&cells, size.unwrap_or(0.0), &mut rng);
                matches!(compare(&table, &cells, scale()).verdict, Verdict::Better | Verdict::Worse)
            };
            (0..n).filter(told).count() as f64 / n as f64
        };
        EVENTS.into_par_iter().enumerate().map(cell).collect()
    }

    fn differences(&self, cells: &Table, mean: f64, rng: &mut ChaCha8Rng) -> Table {
        let Self { variances: Variances { event, seed, rest }, draw, .. } = self;
        let events: Vec<f64> = repeat_with(|| event.sqrt() * draw(rng)).take(cells.n_events()).collect();
        let seeds: Vec<f64> = repeat_with(|| seed.sqrt() * draw(rng)).take(cells.n_seeds()).collect();
        cells.filled(|e, s| mean + events[e] + seeds[s] + rest.sqrt() * draw(rng))
    }
}

fn events_title(name: &str, note: &str, events: &[usize]) {
    title(name, note, &events.iter().map(|events| format!("{events} events")).collect::<Vec<_>>());
}

fn comparisons(n: usize, bounds: &mut Bounds) {
    let note = |what: &str| format!("{n} comparisons a cell. {what}");
    events_title("Without a difference: `better` or `worse`", &note("Nominal 5%."), &EVENTS);
    for (number, cells) in Comparisons::rows(&VARIANCES, normal, false).iter().enumerate() {
        let shares = cells.told(n, number);
        row(&cells.name, &shares);
        for (share, events) in shares.into_iter().zip(EVENTS) {
            let bound = if cells.seeds == 3 { 0.08 } else { 0.065 };
            bounds.at_most(bound, share, n, &format!("no difference, {}, {events} events", cells.name));
        }
    }
    let skew = note("Every effect exponential (skewness 2). No bound.");
    events_title("The same, skewed", &skew, &EVENTS);
    for (number, cells) in Comparisons::rows(&VARIANCES, skewed, false).iter().enumerate() {
        row(&cells.name, &cells.told(n, 100 + number));
    }
}

fn power(n: usize) {
    let note = format!("{n} comparisons a cell. Nominal 80%. No bound.");
    events_title("A difference of the size `detectable`: `better` or `worse`", &note, &EVENTS);
    for (number, cells) in Comparisons::rows(&VARIANCES, normal, true).iter().enumerate() {
        row(&cells.name, &cells.told(n, 200 + number));
    }
}

/// A run that is drawn point by point: `score(k, e, s) = event + seed + event·point + rest`, level and jitter added.
struct Run {
    rng: ChaCha8Rng,
    cells: Table,
    events: Vec<f64>,
    seeds: Vec<f64>,
    /// Standard deviation of what all events of a point share.
    jitter: f64,
    /// Of event·point.
    draw: Draw,
}

impl Run {
    fn new(purpose: u64, number: usize, events: usize) -> Self {
        let mut rng = stream(purpose, number);
        let of_events = repeat_with(|| 0.1 * normal(&mut rng)).take(events).collect();
        let seeds = repeat_with(|| 0.01 * normal(&mut rng)).take(3).collect();
        Self { cells: blank(events, 3), events: of_events, seeds, jitter: 0.0, draw: normal, rng }
    }

    fn points(&mut self, epochs: Range<u32>, level: Level) -> Vec<Point> {
        epochs.map(|epoch| Point { epoch, table: self.table(level(epoch)) }).collect()
    }

    fn table(&mut self, level: f64) -> Table {
        let Self { rng, cells, events, seeds, jitter, draw } = self;
        let level = level + *jitter * normal(rng);
        let events: Vec<f64> = events.iter().map(|event| level + event + 0.02 * draw(rng)).collect();
        cells.filled(|e, s| events[e] + seeds[s] + 0.02 * normal(rng))
    }

    /// The mean of the cells at level 0, without what is drawn for each point.
    fn base(&self) -> f64 {
        self.events.iter().sum::<f64>() / self.events.len() as f64 + self.seeds.iter().sum::<f64>() / 3.0
    }
}

fn watch(points: Vec<Point>) -> Watch {
    let mut watch = Watch::new(Rule::new(scale()));
    points.into_iter().for_each(|point| watch.push(point));
    watch
}

/// Rises by .3, most of it within twenty epochs.
fn rising(epoch: u32) -> f64 {
    0.3 * (1.0 - (-f64::from(epoch) / 10.0).exp())
}

fn level_runs(n: usize, bounds: &mut Bounds) {
    let note = format!("{n} runs of 200 probes a cell, 3 seeds. Bound for flat runs of 4 and of 11 events: 6%.");
    events_title("Without a fall: any alarm", &note, &RUN_EVENTS);
    let cases: [(&str, Level, f64, Draw); 4] = [
        ("flat", |_| 0.0, 0.0, normal),
        ("flat, event·point skewed", |_| 0.0, 0.0, skewed),
        ("rises by .3, then level", rising, 0.0, normal),
        ("flat, checkpoints jitter by .01", |_| 0.0, 0.01, normal),
    ];
    for ((name, level, jitter, draw), purpose) in cases.into_iter().zip(10..) {
        let shares = RUN_EVENTS.map(|events| {
            share(n, |number| {
                let mut run = Run { jitter, draw, ..Run::new(purpose, number, events) };
                watch(run.points(1..201, level)).alarms().next().is_some()
            })
        });
        row(name, &shares);
        for (&share, events) in shares.iter().zip(RUN_EVENTS).filter(|&(_, events)| name == "flat" && events > 3) {
            bounds.at_most(0.06, share, n, &format!("alarms of flat runs, {events} events"));
        }
    }
}

fn falls(n: usize, bounds: &mut Bounds) {
    let columns: Vec<_> = RUN_EVENTS.iter().flat_map(|&events| FALLS.map(|size| (events, size))).collect();
    let names: Vec<String> = columns.iter().map(|(events, size)| format!("{events} events: {size}")).collect();
    let note = format!(
        "{n} runs a cell, 3 seeds. Raised at the latest by the second probe that is down, and by none before the fall. \
         Bounds: 80% for .05 of 11 events and for .1 of 4."
    );
    title("A fall: found within two probes", &note, &names);
    for look in [5, 20, 100] {
        let found = |events: usize| -> Vec<[bool; FALLS.len()]> {
            (0..n).into_par_iter().map(|number| fall(look, Run::new(20 + u64::from(look), number, events))).collect()
        };
        let found: Vec<_> = RUN_EVENTS.iter().flat_map(|&events| by_size(&found(events))).collect();
        row(&format!("at look {look}"), &found);
        for (&share, column) in found.iter().zip(&columns).filter(|(_, c)| [(11, 0.05), (4, 0.1)].contains(*c)) {
            bounds.at_least(0.8, share, n, &format!("fall at {look}, events and size {column:?}"));
        }
    }
}

/// For each size, whether the fall of this run was found.
fn fall(look: u32, mut run: Run) -> [bool; FALLS.len()] {
    let before = watch(run.points(1..look, |_| 0.0));
    let down = run.points(look..look + 2, |_| 0.0);
    FALLS.map(|size| {
        let mut watch = before.clone();
        for Point { epoch, table } in &down {
            let rows: Vec<&[f64]> = table.rows().collect();
            watch.push(Point { epoch: *epoch, table: table.filled(|e, s| rows[e][s] - size) });
        }
        let raised = |alarm: Alarm| alarm.stage == Stage::Raised && alarm.confirmed >= Some(look);
        before.alarms().next().is_none() && watch.last().is_some_and(raised)
    })
}

fn by_size(found: &[[bool; FALLS.len()]]) -> [f64; FALLS.len()] {
    std::array::from_fn(|at| found.iter().filter(|found| found[at]).count() as f64 / found.len() as f64)
}

fn trends(n: usize) {
    let words = [Tendency::Improving, Tendency::Flat, Tendency::Declining, Tendency::Undecided];
    let note = format!("{n} runs of 20 probes a row, 3 seeds, margin .01. No bound.");
    title("Trend over the last k", &note, &words.map(|word| format!("{word:?}").to_lowercase()));
    let cases: [(&str, Level, f64); 4] = [
        ("flat", |_| 0.0, 0.0),
        ("flat, checkpoints jitter by .01", |_| 0.0, 0.01),
        (".005 a probe", |k| 0.005 * f64::from(k), 0.0),
        (".01 a probe", |k| 0.01 * f64::from(k), 0.0),
    ];
    for ((name, level, jitter), events, k) in
        cases.into_iter().flat_map(|case| [(case, 4, 5), (case, 4, 10), (case, 11, 5), (case, 11, 10)])
    {
        let word = |number| {
            let points = Run { jitter, ..Run::new(200, number, events) }.points(1..21, level);
            trend(&points, k, Scale::higher(0.01)).tendency
        };
        let found: Vec<Tendency> = (0..n).into_par_iter().map(word).collect();
        row(&format!("{name}; {events} events, k = {k}"), &words.map(|word| share(n, |number| found[number] == word)));
    }
}

fn bests(n: usize) {
    println!(
        "\n### The best of k\n\n{n} runs a row, 4 events, 3 seeds. Bias: estimate less the chosen point's true score."
    );
    println!("No bound; nominal at most 5% for what the set lacks.\n");
    println!(
        "| | k | bias of the highest as measured | of the shrunken | set lacks the truly best | points in the set |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
    let cases: [(&str, Level); 3] = [
        ("flat", |_| 0.0),
        ("the third better by .02", |k| if k == 3 { 0.02 } else { 0.0 }),
        ("rises by .3, then level", rising),
    ];
    for ((name, level), k, purpose) in cases.into_iter().zip(300..).flat_map(|(c, p)| [5, 20, 100].map(|k| (c, k, p))) {
        let truth = (1..k + 1).max_by(|&a, &b| level(a).total_cmp(&level(b))).unwrap_or(1);
        let runs: Vec<([f64; 2], Best)> = (0..n)
            .into_par_iter()
            .filter_map(|number| {
                let mut run = Run::new(purpose, number, 4);
                let points = run.points(1..k + 1, level);
                let top = points.iter().max_by(|a, b| a.table.mean().total_cmp(&b.table.mean()))?;
                let best = best(&points, scale())?;
                let bias = |estimate: f64, epoch: u32| estimate - run.base() - level(epoch);
                Some(([bias(top.table.mean(), top.epoch), bias(best.shrunken, best.epoch)], best))
            })
            .collect();
        let [measured, shrunken] = [0, 1].map(|at| mean(runs.par_iter().map(|(bias, _)| bias[at]), n));
        let lacks = share(n, |number| !runs[number].1.not_worse.contains(&truth));
        let size = mean(runs.par_iter().map(|(_, best)| best.not_worse.len() as f64), n);
        println!("| {name} | {k} | {measured:.4} | {shrunken:.4} | {:.1}% | {size:.1} |", 100.0 * lacks);
    }
}
