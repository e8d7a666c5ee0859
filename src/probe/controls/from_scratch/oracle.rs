//! The same network operation by operation, as PyTorch defines each, in f64: the transposed convolutions scatter, and the
//! map is doubled. Beside it, that results hang on nothing but weights and chips.

use super::{Form, Network, layers};
use crate::{
    domain::Seed,
    probe::{head::Targets, seed::Initial},
};

/// `[C, S, S]`.
struct Planes {
    side: usize,
    values: Vec<f64>,
}

/// Calls `each` with the places of (weight, input, output) whose product is part of a convolution.
fn visit(form: Form, input: usize, output: usize, side: usize, mut each: impl FnMut(usize, usize, usize)) {
    let range = |v: usize, k: usize| (v + k).checked_sub(1).filter(|v| *v < side);
    for (i, o) in (0..input).flat_map(|i| (0..output).map(move |o| (i, o))) {
        for (k, at) in (0..9).flat_map(|k| (0..side * side).map(move |at| (k, at))) {
            let Some(other) = range(at / side, k / 3).zip(range(at % side, k % 3)).map(|(y, x)| y * side + x) else {
                continue;
            };
            if form == Form::Transposed {
                each((i * output + o) * 9 + k, i * side * side + at, o * side * side + other); // it scatters
            } else {
                each((o * input + i) * 9 + k, i * side * side + other, o * side * side + at);
            }
        }
    }
}

/// For each value of the doubled map, the place it comes from.
fn doubled(len: usize, side: usize) -> impl Iterator<Item = usize> {
    let twice = 2 * side;
    (0..4 * len).map(move |i| i / (twice * twice) * side * side + i / twice % twice / 2 * side + i % twice / 2)
}

/// For each pooled value, the place of the largest of its four.
fn largest(x: &Planes) -> Vec<usize> {
    let half = x.side / 2;
    let of = |i: usize| {
        let corner = i / (half * half) * x.side * x.side + i / half % half * 2 * x.side + i % half * 2;
        let four = [corner, corner + 1, corner + x.side, corner + x.side + 1];
        four.into_iter().reduce(|a, b| if x.values[b] > x.values[a] { b } else { a }).unwrap()
    };
    (0..x.values.len() / 4).map(of).collect()
}

/// Logits, and the gradients of all parameters for the loss over `labels`, divided by `labelled`.
fn oracle(network: &Network, pixels: &[f32], labels: &[u8], labelled: f64) -> (Vec<f64>, Vec<Vec<f64>>, f64) {
    let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let parameters: Vec<Vec<f64>> = network.parameters.iter().map(|p| wide(&p.value)).collect();
    let mut x = Planes { side: labels.len().isqrt(), values: wide(pixels) };
    let (mut inputs, mut outputs, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (l, (input, layer)) in layers(network.channels).enumerate() {
        if layer.form == Form::Doubled {
            let values = doubled(x.values.len(), x.side).map(|at| x.values[at]).collect();
            x = Planes { side: 2 * x.side, values };
        }
        let area = x.side * x.side;
        let mut y: Vec<f64> = (0..layer.output * area).map(|i| parameters[2 * l + 1][i / area]).collect();
        visit(layer.form, input, layer.output, x.side, |w, from, to| y[to] += parameters[2 * l][w] * x.values[from]);
        if l < 4 {
            y.iter_mut().for_each(|v| *v = v.max(0.0));
        }
        outputs.push(y.clone());
        inputs.push(std::mem::replace(&mut x, Planes { side: area.isqrt(), values: y }));
        if l == 1 {
            places = largest(&x);
            x = Planes { side: x.side / 2, values: places.iter().map(|&at| x.values[at]).collect() };
        }
    }
    let (mut loss, mut y) = (0.0, vec![0.0; labels.len()]);
    for ((y, &z), &label) in y.iter_mut().zip(&x.values).zip(labels).filter(|(_, label)| **label < 2) {
        let p = 1.0 / (1.0 + (-z).exp());
        loss -= if label == 1 { p.ln() } else { (1.0 - p).ln() };
        *y = (p - f64::from(label)) / labelled;
    }
    let mut gradients = vec![Vec::new(); 10];
    for (l, (input, layer)) in layers(network.channels).enumerate().collect::<Vec<_>>().into_iter().rev() {
        if l == 1 {
            let mut unpooled = vec![0.0; outputs[1].len()];
            places.iter().zip(&y).for_each(|(&at, y)| unpooled[at] = *y);
            y = unpooled;
        }
        if l < 4 {
            y.iter_mut().zip(&outputs[l]).filter(|(_, out)| **out <= 0.0).for_each(|(y, _)| *y = 0.0);
        }
        let x = &inputs[l];
        let mut weight = vec![0.0; 9 * input * layer.output];
        let mut back = vec![0.0; x.values.len()];
        visit(layer.form, input, layer.output, x.side, |w, from, to| {
            weight[w] += x.values[from] * y[to];
            back[from] += parameters[2 * l][w] * y[to];
        });
        gradients[2 * l + 1] = y.chunks_exact(x.side * x.side).map(|plane| plane.iter().sum()).collect();
        gradients[2 * l] = weight;
        if layer.form == Form::Doubled {
            let mut halved = vec![0.0; back.len() / 4];
            doubled(halved.len(), x.side / 2).zip(&back).for_each(|(at, y)| halved[at] += y);
            back = halved;
        }
        y = back;
    }
    (x.values, gradients, loss)
}

/// Pixels `[bands, side, side]` and labels, some ignored.
fn chip(bands: usize, side: usize, seed: u64) -> (Vec<f32>, Vec<u8>) {
    let pixels = Initial::new(Seed(seed)).uniform(bands * side * side, 1.7);
    let labels = (0..side * side).map(|i| [0, 1, 255, 1, 0, 0, 7][(i * i + seed as usize) % 7]).collect();
    (pixels, labels)
}

#[test]
fn a_batch_of_two_sizes_against_plain_operations() {
    let network = Network::new(2, Seed(5));
    let chips = [chip(2, 4, 1), chip(2, 6, 2)];
    let targets: Vec<Targets> = chips.iter().map(|(_, labels)| Targets::new(labels, labels.len().isqrt(), 1)).collect();
    let labelled = targets.iter().map(|t| t.labelled).sum::<u64>() as f64;
    let batch: Vec<_> = chips.iter().zip(&targets).map(|((pixels, _), targets)| (pixels.clone(), targets)).collect();
    let (loss, got) = network.gradients(&batch);
    let (mut want, mut want_loss) = (vec![Vec::new(); 10], 0.0);
    for (pixels, labels) in &chips {
        let (logits, gradients, loss) = oracle(&network, pixels, labels, labelled);
        let off =
            network.predict(pixels).iter().zip(&logits).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        assert!(off < 1e-6, "a logit is off by {off}");
        want_loss += loss / labelled;
        for (sum, gradient) in want.iter_mut().zip(gradients) {
            sum.resize(gradient.len(), 0.0);
            sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
        }
    }
    assert!((loss - want_loss).abs() < 1e-7, "{loss} {want_loss}");
    for ((got, want), parameter) in got.iter().zip(&want).zip(network.state()) {
        assert_eq!(got.len(), parameter.value.len());
        let largest = want.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
        let off = got.iter().zip(want).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        println!("{:10} largest {largest:.2e} off {off:.2e}", parameter.name);
        assert!(off < 2e-6 * largest && largest > 0.0, "`{}`: {off} of {largest}", parameter.name);
    }
}

/// Bit for bit, and for a side that leaves no strip and no part whole.
#[test]
fn results_do_not_depend_on_threads() {
    let network = Network::new(3, Seed(1));
    let (pixels, labels) = chip(3, 74, 3);
    let targets = Targets::new(&labels, 74, 1);
    let batch = [(pixels, &targets)];
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| network.gradients(&batch))
    };
    let one = with(1);
    assert!(one.0.is_finite());
    for threads in [2, 3, 8] {
        assert!(with(threads) == one, "{threads} threads");
    }
}

#[test]
fn what_is_not_finite_moves_nothing() {
    let mut network = Network::new(1, Seed(1));
    let before = network.state();
    let mut optimiser = network.optimiser(1e-3);
    let unlabelled = Targets::new(&[255; 16], 4, 1);
    assert!(network.step(&[(vec![1.0; 16], &unlabelled)], &mut optimiser).is_nan());
    let targets = Targets::new(&[1; 16], 4, 1);
    let mut pixels = vec![1.0; 16];
    pixels[5] = f32::NAN;
    assert!(network.step(&[(pixels, &targets)], &mut optimiser).is_nan());
    assert_eq!(network.state(), before);
    let first = network.step(&[(vec![1.0; 16], &targets)], &mut optimiser);
    assert!(network.step(&[(vec![1.0; 16], &targets)], &mut optimiser) < first);
}
