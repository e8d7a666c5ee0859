//! Each head and its way back against plain operations in f64, and candle's own way back through them.

use candle_core::{DType, Device, Tensor};
use clay_probe::{
    domain::{HeadName, Seed},
    probe::head::{Head, Kind, Segmentor, Sizes, Targets},
};
use rand::Rng;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::{by_pixel, in_torchs_layout, loss_and_gradients, plain, rows, values};
use crate::heads::plain::Plain;

/// The largest difference, as a share of the largest value.
fn relative(got: &[f32], want: &Tensor) -> f64 {
    let want: Vec<f64> = want.flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(got.len(), want.len());
    let size = want.iter().fold(0f64, |a, b| a.max(b.abs()));
    got.iter().zip(&want).map(|(g, w)| (f64::from(*g) - w).abs()).fold(0.0, f64::max) / size
}

/// Two chips with seeded features and labels, a third of them ignored, one cell of patches wholly.
struct Case {
    channels: usize,
    grid: usize,
    patch: usize,
    cell: usize,
}

impl Case {
    /// On the first draw of features that no ReLU rounds to its other side.
    fn holds(&self, name: &str, make: &dyn Fn() -> Box<dyn Head>, plainly: &dyn Fn(&Plain, &Tensor, bool) -> Tensor) {
        let first = (self.channels * self.grid + self.patch) as u64;
        let tried = (first..first + 50).position(|seed| self.holds_on(seed, name, make, plainly));
        assert!(tried.is_some(), "{name}: every draw is at a kink");
    }

    /// False where the draw is at a kink.
    fn holds_on(
        &self,
        seed: u64,
        name: &str,
        make: &dyn Fn() -> Box<dyn Head>,
        plainly: &dyn Fn(&Plain, &Tensor, bool) -> Tensor,
    ) -> bool {
        let Self { channels, grid, patch, cell } = *self;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let count = 2 * channels * grid * grid;
        let features: Vec<f32> = (0..count).map(|_| random.random_range(-1.5f32..1.5)).collect();
        let features = Tensor::from_vec(features, (2, channels, grid, grid), &Device::Cpu).unwrap();
        let side = grid * patch;
        let mut labels: Vec<u8> = (0..2 * side * side).map(|_| [0, 1, 255][random.random_range(0..3)]).collect();
        (0..patch).for_each(|y| labels[y * side..y * side + patch].fill(255));
        let targets: Vec<Targets> = labels.chunks_exact(side * side).map(|l| Targets::new(l, side, cell)).collect();

        let mut head = make();
        let oracle = Plain::new(&head.state());
        let exact = features.to_dtype(DType::F64).unwrap();
        let rows = rows(&features, 0, 2);
        let predicted = by_pixel(&head.predict(&rows, grid).unwrap(), side, cell);
        let differs = relative(&predicted, &plainly(&oracle, &exact, false));
        println!("{name}, patch {patch}, grid {grid}: logits {differs:e}");
        assert!(differs < 1e-6, "{name}: {differs:e}");

        let (loss, gradients) = loss_and_gradients(head.as_mut(), &rows, grid, &targets);
        let want = plain::loss(&plainly(&oracle, &exact, true), &labels).unwrap();
        if oracle.is_at_a_kink() {
            return false;
        }
        let differs = (loss - want.to_scalar::<f64>().unwrap()).abs();
        assert!(differs < 1e-6, "{name}: loss {differs:e}");
        let slopes = want.backward().unwrap();
        let mut wrong = Vec::new();
        for gradient in in_torchs_layout(make(), &gradients) {
            // Exactly, a bias before a norm has gradient 0.
            if ["conv1.bias", "conv2.bias"].contains(&gradient.name) {
                assert!(gradient.value.iter().all(|g| g.abs() < 1e-7), "{}", gradient.name);
                continue;
            }
            let differs = relative(&gradient.value, slopes.get(oracle.var(gradient.name)).unwrap());
            println!("  {}: {differs:e}", gradient.name);
            if differs >= 2e-6 {
                wrong.push(format!("{name} {}: {differs:e}", gradient.name));
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
        true
    }
}

#[test]
fn the_decoder_is_the_plain_one() {
    for (patch, grid) in [(2, 3), (4, 2), (8, 1), (8, 5), (16, 2), (32, 1), (32, 3)] {
        let kind = Kind::of(HeadName::Conv, 48, patch).unwrap();
        assert_eq!(kind.cell, if patch == 32 { 2 } else { 1 });
        let case = Case { channels: 48, grid, patch, cell: kind.cell };
        let doublings = patch.ilog2() as usize;
        case.holds("conv", &|| kind.make(Seed(grid as u64)), &|plain, x, _| plain.conv(x, doublings).unwrap());
    }
    for patch in [1, 12, 64] {
        let error = Kind::of(HeadName::Conv, 48, patch).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!(
                "head `conv` is made for patches of 2, 4, 8, 16 or 32 px, and this encoder's have {patch}; hint: "
            )),
            "{error}"
        );
    }
}

#[test]
fn the_linear_head_is_the_plain_one() {
    for (patch, grid) in [(8, 1), (8, 3), (32, 2)] {
        let kind = Kind::of(HeadName::Linear, 24, patch).unwrap();
        let case = Case { channels: 24, grid, patch, cell: kind.cell };
        case.holds("linear", &|| kind.make(Seed(1)), &|plain, x, _| plain.linear(x, patch).unwrap());
    }
}

#[test]
fn the_segmentor_is_the_plain_one() {
    for grid in [2, 3, 5] {
        let sizes = Sizes { channels: 12, middle: 6, last: 3 };
        let make = || Box::new(Segmentor::new(sizes, Seed(2))) as Box<dyn Head>;
        let case = Case { channels: 12, grid, patch: 8, cell: 1 };
        case.holds("segmentor", &make, &|plain, x, training| plain.segmentor(x, training).unwrap());
    }
    let error = Kind::of(HeadName::Segmentor, 48, 32).unwrap_err().to_string();
    assert!(
        error.starts_with("head `segmentor` is made for patches of 8 px, and this encoder's have 32; hint: "),
        "{error}"
    );
}

/// AdamW makes steps of whatever is not 0: what no label reaches must get nothing.
#[test]
fn a_gradient_that_is_zero_is_exactly_so() {
    for head in [HeadName::Conv, HeadName::Linear] {
        for patch in [8, 32] {
            let kind = Kind::of(head, 3, patch).unwrap();
            let mut features = vec![0.5f32; 3 * 4];
            features.iter_mut().skip(1).step_by(3).for_each(|x| *x = 0.0); // the second channel is never there
            let features = Tensor::from_vec(features, (4, 3), &Device::Cpu).unwrap();
            let labels: Vec<u8> = (0..4 * patch * patch).map(|i| (i % 3 == 0).into()).collect();
            let targets = [Targets::new(&labels, 2 * patch, kind.cell)];
            let mut made = kind.make(Seed(0));
            let (_, gradients) = loss_and_gradients(made.as_mut(), &features, 2, &targets);
            assert!(gradients[0].iter().skip(1).step_by(3).all(|g| *g == 0.0), "{head}, {patch}");
            assert!(gradients[0].iter().step_by(3).any(|g| *g != 0.0), "{head}, {patch}");
            assert_eq!(values(&features).len(), 12);
        }
    }
}
