//! The from-scratch network's steps against PyTorch's (`tests/compare_from_scratch.py`), and a whole fit.

use std::path::PathBuf;

use clay_probe::{
    domain::{FitNote, Seed},
    probe::{
        controls::from_scratch::{Network, Side, Step, fit},
        head::{FitSettings, Fitted, HeadError, Keep, Parameter, Targets},
    },
};
use safetensors::SafeTensors;

/// Of the loss and of every value, after any step: the bound of the issue that asked for it.
const BOUND: f64 = 1e-5;

/// Values and shape of a tensor; its bytes are little-endian.
fn values(file: &SafeTensors, name: &str) -> (Vec<f32>, Vec<usize>) {
    let tensor = file.tensor(name).expect(name);
    (tensor.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(), tensor.shape().to_vec())
}

fn doubles(file: &SafeTensors, name: &str) -> Vec<f64> {
    file.tensor(name).expect(name).data().as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
}

#[test]
#[ignore = "needs PyTorch: see tests/compare_from_scratch.py"]
fn compare_from_scratch() {
    let folder = PathBuf::from(std::env::var_os("CLAY_PROBE_COMPARE").expect("`CLAY_PROBE_COMPARE` is a folder"));
    for seed in 0..3 {
        let bytes = std::fs::read(folder.join(format!("from_scratch-{seed}.safetensors"))).expect("the script's file");
        compare(&SafeTensors::deserialize(&bytes).expect("the script wrote it"), seed);
    }
}

/// Loss and each parameter after each step.
fn compare(file: &SafeTensors, seed: u32) {
    let mut network = Network::new(13, Seed(0));
    let start = network.state().into_iter().map(|p| Parameter { value: values(file, &format!("0/{}", p.name)).0, ..p });
    network.restore(&start.collect::<Vec<_>>());
    let mut optimiser = network.optimiser(1e-3);
    for step in 1..=5 {
        let (pixels, shape) = values(file, &format!("{step}/pixels"));
        let (side, chip) = (shape[3], shape[1] * shape[2] * shape[3]);
        let labels = file.tensor(&format!("{step}/labels")).expect("labels").data();
        let targets: Vec<Targets> = labels.chunks_exact(side * side).map(|l| Targets::new(l, side, 1)).collect();
        let batch: Vec<_> = pixels.chunks_exact(chip).map(<[f32]>::to_vec).zip(&targets).collect();
        let loss = network.step(&batch, &mut optimiser);
        let off = (loss - f64::from(values(file, &format!("{step}/loss")).0[0])).abs();
        println!("seed {seed}, step {step}: loss {loss:.6}, off by {off:.1e}");
        assert!(off <= BOUND, "the loss of step {step}");
        for got in network.state() {
            let (want, shape) = values(file, &format!("{step}/{}", got.name));
            assert_eq!(shape, got.shape, "`{}`", got.name);
            let exact = doubles(file, &format!("{step}/double/{}", got.name));
            let wide = |v: &[f32]| v.iter().copied().map(f64::from).collect::<Vec<_>>();
            let (ours, want) = (wide(&got.value), wide(&want));
            let off = largest(&ours, &want);
            let (by_us, by_torch) = (largest(&ours, &exact), largest(&want, &exact));
            println!("  {:9} off by {off:.1e}; off float64 by {by_us:.1e}, PyTorch by {by_torch:.1e}", got.name);
            assert!(off <= BOUND, "`{}` after step {step}", got.name);
        }
    }
}

/// The largest difference.
fn largest(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn settings(fit_steps: u32) -> FitSettings<'static> {
    FitSettings {
        seed: Seed(1),
        fold: 0,
        fit_steps,
        batch_size: 2,
        learning_rate: 1e-3,
        threshold: 0.5,
        scale: None,
        keep: Keep::Ends,
    }
}

/// Chips of two sizes, of which the first band says where water is.
fn chips() -> Vec<(Vec<f32>, Vec<u8>, u32)> {
    let chip = |i: usize| {
        let side = [16, 16, 24, 16][i % 4];
        let wet = |p: usize| (p / side + p % side) / 5 % 2 == i % 2;
        let mut pixels: Vec<f32> = (0..side * side).map(|p| if wet(p) { -1.0 } else { 1.0 }).collect();
        pixels.extend((0..side * side).map(|p| (p * (i + 3) % 17) as f32 / 17.0));
        let labels = (0..side * side).map(|p| if p % 13 == 0 { 255 } else { u8::from(wet(p)) }).collect();
        (pixels, labels, side as u32)
    };
    (0..8).map(chip).collect()
}

fn fitted(fit_steps: u32, spoilt: bool) -> (Network, Result<Fitted, HeadError>, u32) {
    let chips = chips();
    let targets: Vec<Targets> = chips.iter().map(|(_, l, side)| Targets::new(l, *side as usize, 1)).collect();
    let pixels = |i: usize| {
        let mut pixels = chips[i].0.clone();
        pixels[7] = if spoilt { f32::INFINITY } else { pixels[7] };
        pixels
    };
    let val = |i: usize| pixels(i + 6);
    let side = |range: std::ops::Range<usize>| {
        (chips[range.clone()].iter().map(|c| c.2).collect(), targets[range].iter().collect())
    };
    let ((train_sides, train_targets), (val_sides, val_targets)) = (side(0..6), side(6..8));
    let train = Side { sides: train_sides, targets: train_targets, pixels: &pixels };
    let val = Side { sides: val_sides, targets: val_targets, pixels: &val };
    let (mut network, mut steps) = (Network::new(2, Seed(1)), 0);
    let mut after_step = |step: Step| {
        steps += 1;
        assert_eq!((step.done, step.total), (steps, fit_steps));
        assert!(step.pace().contains(&format!("for {fit_steps} steps")));
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("two threads");
    let fitted = pool.install(|| fit(&mut network, &train, &val, &settings(fit_steps), &mut after_step));
    (network, fitted, steps)
}

#[test]
fn a_fit_learns_what_a_band_says() {
    let (network, fit, steps) = fitted(40, false);
    let fit = fit.unwrap();
    assert_eq!((steps, fit.trace.losses.len(), fit.trace.batches.len(), fit.chips.len()), (40, 40, 40, 2));
    assert!(fit.trace.losses[39] < 0.3 * fit.trace.losses[0], "{:?}", fit.trace.losses);
    let iou = fit.mean_batch_iou.unwrap();
    assert!(iou > 0.8, "{iou}");
    assert_eq!(
        (fit.trace.fitted == network.state(), fit.trace.initial == Network::new(2, Seed(1)).state()),
        (true, true)
    );
    assert_eq!(fit.chips[0].1.len(), 24 * 24);
    assert!(fit.notes.is_empty() && fit.curve.is_empty());
    let again = fitted(40, false).1.unwrap();
    assert!(again.trace.fitted == fit.trace.fitted, "bit for bit");
    // Before it has learnt anything it calls everything the same.
    assert_eq!(fitted(0, false).1.unwrap().notes, [FitNote::OneClass]);
}

#[test]
fn a_fit_that_is_not_finite_says_where() {
    let error = fitted(3, true).1.unwrap_err();
    assert_eq!(error.to_string(), "the loss is not finite at fit step 1");
}
