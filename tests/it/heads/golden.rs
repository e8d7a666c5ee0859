//! Golden steps: what PyTorch made of the same features, labels and initial weights.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use clay_probe::{
    domain::{HeadName, Seed},
    probe::head::{AdamW, Head, Kind, Parameter, Segmentor, Sizes, Targets},
};

use super::{GOLDEN, by_pixel, in_torchs_layout, largest, loss_and_gradients, rows, values};

type Tensors = HashMap<String, Tensor>;

/// Bounds by what is compared; a name may end in `*`.
type Bounds<'a> = &'a [(&'a str, f32)];

fn load(path: &str) -> Tensors {
    candle_core::safetensors::load(format!("{GOLDEN}/{path}"), &Device::Cpu).unwrap()
}

fn labels(masks: &Tensor) -> Vec<u8> {
    values(&masks.to_dtype(candle_core::DType::F32).unwrap()).into_iter().map(|m| m as u8).collect()
}

/// A head as it is before its first golden step.
fn restored(mut head: Box<dyn Head>, golden: &Tensors) -> Box<dyn Head> {
    let mut state = head.state();
    for Parameter { name, shape, value } in &mut state {
        let tensor = &golden[&format!("initial.{name}")];
        assert_eq!(tensor.dims(), shape, "{name}");
        *value = values(tensor);
    }
    head.restore(&state);
    assert_eq!(head.state(), state);
    head
}

/// Prints how far it is off, and holds it to the first bound whose name fits.
fn hold(bounds: Bounds, what: &str, got: f32) {
    let fits = |name: &str| name.strip_suffix('*').map_or(name == what, |stem| what.starts_with(stem));
    let (_, bound) = bounds.iter().find(|(name, _)| fits(name)).unwrap();
    println!("{what}: differs by {got:e}, may by {bound:e}");
    assert!(got <= *bound, "{what}: {got:e} > {bound:e}");
}

/// Five steps of two chips each, in order.
fn five_steps(make: &dyn Fn() -> Box<dyn Head>, cell: usize, data: &Tensors, golden: &Tensors, bounds: Bounds) {
    let features = &data["features"];
    let (grid, side) = (features.dim(3).unwrap(), 64);
    let labels = labels(&data["masks"]);
    let targets: Vec<Targets> = labels.chunks_exact(side * side).map(|m| Targets::new(m, side, cell)).collect();
    let mut head = restored(make(), golden);
    let logits =
        |head: &dyn Head, chips: usize| by_pixel(&head.predict(&rows(features, 0, chips), grid).unwrap(), side, cell);
    let shown = golden["logits_initial"].dim(0).unwrap();
    let differ = |head: &dyn Head, name: &str| largest(&logits(head, shown), &values(&golden[name]));
    hold(bounds, "logits_initial", differ(head.as_ref(), "logits_initial"));

    let mut optimiser = AdamW::new(head.parameters(), 1e-3);
    for (step, want) in values(&golden["losses"]).into_iter().enumerate() {
        let batch = rows(features, 2 * step, 2);
        let (loss, gradients) = loss_and_gradients(head.as_mut(), &batch, grid, &targets[2 * step..2 * step + 2]);
        hold(bounds, "losses", (loss - f64::from(want)).abs() as f32);
        if step == 0 {
            for Parameter { name, value, .. } in in_torchs_layout(make(), &gradients) {
                let name = format!("grad0.{name}");
                hold(bounds, &name, largest(&value, &values(&golden[&name])));
            }
        }
        optimiser.step(head.parameters(), &gradients);
    }
    for Parameter { name, value, .. } in head.state() {
        let name = format!("final.{name}");
        hold(bounds, &name, largest(&value, &values(&golden[&name])));
    }
    hold(bounds, "logits_final", differ(head.as_ref(), "logits_final"));
    let all = head.predict(&rows(features, 0, 10), grid).unwrap();
    let chips = targets.iter().zip(all.chunks_exact(all.len() / 10));
    let labelled: u64 = targets.iter().map(|t| t.labelled).sum();
    let loss = chips.map(|(t, z)| t.score(z, 0.5).0).sum::<f64>() / labelled as f64;
    hold(bounds, "loss_all_final", (loss - f64::from(values(&golden["loss_all_final"])[0])).abs() as f32);

    if let Some(want) = golden.get("logits_final_batch") {
        // The mode of a fit, without its step.
        let mut seen = Vec::new();
        let spy = &mut |z: &[f32]| {
            seen = z.to_vec();
            vec![0.0; z.len()]
        };
        head.gradients(&rows(features, 0, shown), grid, spy).unwrap();
        hold(bounds, "logits_final_batch", largest(&by_pixel(&seen, side, cell), &values(want)));
    }
}

#[test]
fn five_golden_steps_of_the_decoder_for_patches_of_32() {
    let golden = load("flood_train.safetensors");
    let kind = Kind::of(HeadName::Conv, 144, 32).unwrap();
    assert_eq!(kind.cell, 2, "the last doubling is not done");
    let bounds = [
        ("logits_initial", 1e-5),
        ("losses", 2e-6),
        ("grad0.*", 1e-6),
        ("final.*", 2e-5),
        ("logits_final", 5e-5),
        ("loss_all_final", 2e-6),
    ];
    five_steps(&|| kind.make(Seed(0)), kind.cell, &golden, &golden, &bounds);
}

#[test]
fn five_golden_steps_of_conv_and_linear_for_patches_of_8() {
    let bounds = [
        ("logits_initial", 1e-5),
        ("losses", 2e-6),
        ("grad0.*", 1e-5),
        ("final.*", 2e-5),
        ("logits_final", 5e-5),
        ("loss_all_final", 2e-6),
    ];
    for head in [HeadName::Conv, HeadName::Linear] {
        println!("{head}");
        let kind = Kind::of(head, 32, 8).unwrap();
        let golden = load(&format!("v1_head/{head}.safetensors"));
        five_steps(&|| kind.make(Seed(0)), kind.cell, &load("v1_head/data.safetensors"), &golden, &bounds);
    }
}

/// The biases before a norm, and what follows from them, move on rounding: their bounds are the golden README's.
#[test]
fn five_golden_steps_of_the_segmentor() {
    let bounds = [
        ("logits_initial", 1e-5),
        ("losses", 2e-6),
        ("grad0.*", 1e-5),
        ("final.conv1.bias", 5e-3),
        ("final.conv2.bias", 5e-3),
        ("final.bn1.running_mean", 2e-3),
        ("final.bn2.running_mean", 2e-3),
        ("final.*", 2e-5),
        ("logits_final", 2e-3),
        ("loss_all_final", 1e-4),
        ("logits_final_batch", 5e-5),
    ];
    let sizes = Sizes { channels: 32, middle: 8, last: 4 };
    let make = || Box::new(Segmentor::new(sizes, Seed(0))) as Box<dyn Head>;
    five_steps(&make, 1, &load("v1_head/data.safetensors"), &load("v1_head/segmentor.safetensors"), &bounds);
}

/// Value i of the tensor of a salt, as the golden README has it.
fn hashed(i: u32, salt: u32, bound: f32) -> f32 {
    let mut x = i.wrapping_add(salt.wrapping_mul(0x9E37_79B9));
    for (shift, factor) in [(16, 0x7FEB_352D), (15, 0x846C_A68B)] {
        x = (x ^ x >> shift).wrapping_mul(factor);
    }
    ((x ^ x >> 16) >> 8) as f32 / (1u32 << 23) as f32 * bound - bound
}

#[test]
fn three_golden_steps_of_the_segmentor_at_its_real_size() {
    let golden = load("v1_head/fullsize.safetensors");
    let kind = Kind::of(HeadName::Segmentor, 1024, 8).unwrap();
    assert!(kind.cost.as_ref().unwrap().contains("26.0 million parameters"), "{:?}", kind.cost);
    let mut head = kind.make(Seed(0));
    let mut state = head.state();
    let stored = ["conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"];
    let second = ["conv2.weight", "conv2.bias", "bn2.weight", "bn2.bias", "bn2.running_mean", "bn2.running_var"];
    let last = ["conv_ps.weight", "conv_ps.bias", "conv_out.weight", "conv_out.bias"];
    let order: Vec<&str> = stored.into_iter().chain(second).chain(last).collect();
    for Parameter { name, shape, value } in &mut state {
        let salt = 100 + order.iter().position(|stored| stored == name).unwrap() as u32;
        let (bound, centre) = match *name {
            "conv_out.weight" => (0.03125, 0.0),
            _ if shape.len() == 4 => (0.015_625, 0.0),
            "bn1.weight" | "bn2.weight" | "bn1.running_var" | "bn2.running_var" => (0.25, 1.0),
            _ => (0.125, 0.0),
        };
        value.iter_mut().zip(0..).for_each(|(v, i)| *v = hashed(i, salt, bound) + centre);
    }
    head.restore(&state);

    let features: Vec<f32> = (0..2 * 1024 * 64).map(|i| hashed(i, 7, 1.0)).collect();
    let features = rows(&Tensor::from_vec(features, (2, 1024, 8, 8), &Device::Cpu).unwrap(), 0, 2);
    let labels = labels(&golden["masks"]);
    let targets: Vec<Targets> = labels.chunks_exact(64 * 64).map(|m| Targets::new(m, 64, 1)).collect();
    let bounds = [("logits_initial", 1e-5), ("losses", 5e-5), ("grad0.*", 1e-6)];
    let logits = head.predict(&features, 8).unwrap();
    hold(&bounds, "logits_initial", largest(&logits, &values(&golden["logits_initial"])));
    let mut optimiser = AdamW::new(head.parameters(), 1e-3);
    for (step, want) in values(&golden["losses"]).into_iter().enumerate() {
        let (loss, gradients) = loss_and_gradients(head.as_mut(), &features, 8, &targets);
        hold(&bounds, "losses", (loss - f64::from(want)).abs() as f32);
        if step == 0 {
            let gradients = in_torchs_layout(kind.make(Seed(0)), &gradients);
            let of = |name: &str| &gradients.iter().find(|g| g.name == name).unwrap().value;
            let got = largest(of("conv_out.weight"), &values(&golden["grad0.conv_out.weight"]));
            hold(&bounds, "grad0.conv_out.weight", got);
            let first: Vec<f32> =
                of("conv1.weight").chunks(1024 * 9).take(2).flat_map(|o| &o[..4 * 9]).copied().collect();
            let got = largest(&first, &values(&golden["grad0.conv1.weight.first"]));
            hold(&bounds, "grad0.conv1.weight.first", got);
        }
        optimiser.step(head.parameters(), &gradients);
    }
}
