//! The head and the whole probe: golden decoder steps, and that two probes give the same numbers.

use std::{collections::HashMap, path::Path};

use candle_core::{Device, Tensor, Var};
use clay_probe::{
    config::Config,
    domain::{Metric, ProbeReport, RunName, Seed},
    probe::{
        ProbeRequest,
        head::{AdamW, ConvHead, Targets},
        probe,
    },
};

const TRAIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/clay/golden/flood_train.safetensors");

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn largest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The head with parameters `{prefix}.{name}` of the golden file.
fn head(golden: &HashMap<String, Tensor>, prefix: &str) -> ConvHead {
    let mut head = ConvHead::new(golden["features"].dim(1).unwrap(), Seed(0));
    for parameter in &mut head.parameters {
        let tensor = &golden[&format!("{prefix}.{}", parameter.name)];
        assert_eq!(tensor.dims(), parameter.shape);
        parameter.value = values(tensor);
    }
    head
}

/// Chips `from..from + n` as rows `[n*h*w, C]`.
fn rows(features: &Tensor, from: usize, n: usize) -> Tensor {
    let chosen = features.narrow(0, from, n).unwrap().permute((0, 2, 3, 1)).unwrap();
    chosen.reshape(((), features.dim(1).unwrap())).unwrap()
}

/// Cells of 2x2 pixels back to pixels.
fn doubled(cells: &Tensor) -> Vec<f32> {
    let (_, h, w) = cells.dims3().unwrap();
    values(&cells.unsqueeze(1).unwrap().upsample_nearest2d(2 * h, 2 * w).unwrap())
}

#[test]
fn five_golden_steps() {
    let golden = candle_core::safetensors::load(TRAIN, &Device::Cpu).unwrap();
    let features = &golden["features"];
    let masks: Vec<u8> = values(&golden["masks"]).into_iter().map(|m| m as u8).collect();
    let targets: Vec<Targets> = masks.chunks_exact(64 * 64).map(|m| Targets::new(m, 64)).collect();
    let mut head = head(&golden, "initial");

    let plain = values(&ConvHead::forward_plain(features, &head.tensors(&Device::Cpu).unwrap()).unwrap());
    let fast = doubled(&head.forward(&rows(features, 0, 10), 2).unwrap().logits);
    let want = values(&golden["logits_initial"]);
    println!("logits_initial: plain {:e}, fast {:e}", largest(&plain, &want), largest(&fast, &want));
    assert!(largest(&plain, &want) <= 1e-5 && largest(&fast, &want) <= 1e-5);

    let mut optimiser = AdamW::new(&head.parameters, 1e-3);
    for (step, want) in values(&golden["losses"]).into_iter().enumerate() {
        let batch = rows(features, 2 * step, 2);
        let pass = head.forward(&batch, 2).unwrap();
        let (logits, mut gradient) = (values(&pass.logits), Vec::new());
        let labelled = 2 * 64 * 64;
        let chips = targets[2 * step..].iter().zip(logits.chunks_exact(32 * 32));
        let loss: f64 = chips.map(|(t, z)| t.loss(z, labelled, &mut gradient)).sum::<f64>() / labelled as f64;
        println!("step {step}: loss {loss:.6}, differs by {:e}", (loss - f64::from(want)).abs());
        assert!((loss - f64::from(want)).abs() <= 2e-6);
        let gradients = head.backward(&batch, &pass, gradient).unwrap();
        if step == 0 {
            for (parameter, gradient) in head.parameters.iter().zip(&gradients) {
                let got = largest(gradient, &values(&golden[&format!("grad0.{}", parameter.name)]));
                println!("grad0.{}: differs by {got:e}", parameter.name);
                assert!(got <= 1e-6, "{}", parameter.name);
            }
        }
        optimiser.step(&mut head.parameters, &gradients);
    }
    for parameter in &head.parameters {
        let got = largest(&parameter.value, &values(&golden[&format!("final.{}", parameter.name)]));
        println!("final.{}: differs by {got:e}", parameter.name);
        assert!(got <= 2e-5, "{}", parameter.name);
    }
    let last = head.forward(&rows(features, 0, 10), 2).unwrap().logits;
    let got = largest(&doubled(&last), &values(&golden["logits_final"]));
    let last = values(&last);
    let loss: f64 = targets.iter().zip(last.chunks_exact(32 * 32)).map(|(t, z)| t.score(z, 0.5).0).sum();
    let differs = (loss / masks.len() as f64 - f64::from(values(&golden["loss_all_final"])[0])).abs();
    println!("logits_final: differs by {got:e}; loss_all_final: by {differs:e}");
    assert!(got <= 5e-5 && differs <= 2e-6);
}

/// The fast pass and its gradients against candle's own operations and their gradients, on more than one size.
#[test]
fn the_fast_decoder_is_the_plain_one() {
    for grid in [1, 3, 7] {
        let head = ConvHead::new(48, Seed(grid as u64));
        let features = Tensor::randn(0f32, 1.0, (2, 48, grid, grid), &Device::Cpu).unwrap();
        let parameters: Vec<Var> =
            head.tensors(&Device::Cpu).unwrap().iter().map(|t| Var::from_tensor(t).unwrap()).collect();
        let tensors: Vec<Tensor> = parameters.iter().map(|v| v.as_tensor().clone()).collect();
        let plain = ConvHead::forward_plain(&features, &tensors).unwrap();
        let rows = rows(&features, 0, 2);
        let pass = head.forward(&rows, grid).unwrap();
        let differs = largest(&values(&plain), &doubled(&pass.logits));
        assert!(differs < 1e-5, "{grid}: {differs:e}");

        // The gradient of a weighted sum of all pixels' logits; a cell has four times the weight of its pixels.
        let weights: Vec<f32> = (0..pass.logits.elem_count()).map(|i| ((i * 37 % 101) as f32 - 50.0) / 1e4).collect();
        let cells = Tensor::from_vec(weights.clone(), pass.logits.shape(), &Device::Cpu).unwrap();
        let pixels = Tensor::from_vec(doubled(&cells), plain.shape(), &Device::Cpu).unwrap();
        let slopes = (&plain * pixels).unwrap().sum_all().unwrap().backward().unwrap();
        let gradients = head.backward(&rows, &pass, weights.iter().map(|w| 4.0 * w).collect()).unwrap();
        for (var, (parameter, got)) in parameters.iter().zip(head.parameters.iter().zip(&gradients)) {
            let want = values(slopes.get(var).unwrap());
            let size = want.iter().fold(0f32, |a, b| a.max(b.abs()));
            let differs = largest(got, &want);
            assert!(differs < 1e-5 * size.max(0.1), "{grid} {}: {differs:e} of {size:e}", parameter.name);
        }
    }
}

/// A probe of the sample data, short.
fn sample_probe(cache: &Path, pictures: &Path, threads: usize) -> ProbeReport {
    let mut config = Config::load(None, &[]).unwrap();
    config.probe.data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sample");
    config.probe.fit_epochs = 2;
    let golden = Path::new(TRAIN).parent().unwrap().join("d24h3-full/mae_epoch-01_val-loss-1.00.ckpt");
    let request = ProbeRequest {
        checkpoint: golden,
        shown_path: None,
        run: RunName::default_run(),
        epoch: None,
        global_step: None,
        settings: config.probe,
        device: "cpu".to_owned(),
        serve: false,
        share_gpu: false,
        gpu_memory: config.worker.gpu_memory,
        cache: cache.to_owned(),
        dump: None,
        pictures: Some(pictures.to_owned()),
        expected_dataset: None,
    };
    probe(&request, threads, &mut |_| {}).unwrap()
}

#[test]
fn two_probes_give_the_same_report_on_one_thread_or_two() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, pictures) = (dir.path().join("cache"), dir.path().join("pictures"));
    let first = sample_probe(&cache, &pictures, 2);
    let mut second = sample_probe(&cache, &pictures, 1);
    assert_eq!(second.dataset.decoded, 0);
    second.seconds = first.seconds;
    second.versions.threads = first.versions.threads;
    second.dataset.decoded = first.dataset.decoded;
    assert_eq!(serde_json::to_string(&first).unwrap(), serde_json::to_string(&second).unwrap());

    assert_eq!(first.epoch.unwrap().0, 1);
    assert_eq!(first.chips_encoded, first.dataset.chips);
    let folds = first.fits.iter().map(|f| f.fold).max().unwrap() + 1;
    assert_eq!(first.fits.len(), 3 * folds as usize);
    assert!(first.fits.iter().all(|f| f.curve.len() == 4));
    // Each seed scores every chip once, with every pixel in one count.
    assert_eq!(first.chip_scores.len() as u64, 3 * first.dataset.chips);
    for score in &first.chip_scores {
        let c = score.confusion;
        assert_eq!(c.tp + c.fp + c.fn_ + c.tn + c.ignored, 224 * 224, "{}", score.chip);
        let picture = score.chip.replace(".tif", ".prediction.png");
        assert!(pictures.join(&picture).is_file(), "{picture}");
    }
    assert_eq!(first.summary[&Metric::Loss].n, 3);
}
