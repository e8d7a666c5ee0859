//! Random numbers of a fit: everything follows from its seed, on every machine alike.
//!
//! Initial weights depend on the seed alone, so that folds and checkpoints are compared from the same start. The
//! order of chips depends on seed, fold and pass.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::domain::Seed;

/// The generator of a purpose: ChaCha8 whose key holds seed, fold, pass and purpose, little-endian.
fn generator(seed: Seed, fold: u32, pass: u32, purpose: u32) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&seed.0.to_le_bytes());
    key[8..12].copy_from_slice(&fold.to_le_bytes());
    key[12..16].copy_from_slice(&pass.to_le_bytes());
    key[16..20].copy_from_slice(&purpose.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// Draws initial weights.
pub struct Initial(ChaCha8Rng);

impl Initial {
    /// The draws of a seed, always in the same order.
    pub fn new(seed: Seed) -> Self {
        Self(generator(seed, 0, 0, 1))
    }

    /// `count` values of U(-bound, bound): 24 random bits each, `(2u - 1) * bound` in f32.
    pub fn uniform(&mut self, count: usize, bound: f32) -> Vec<f32> {
        let unit = |bits: u32| (bits >> 8) as f32 / (1u32 << 24) as f32;
        (0..count).map(|_| (2.0 * unit(self.0.next_u32()) - 1.0) * bound).collect()
    }
}

/// The batches of a pass over the training chips (from 1): indices into `sides`, which holds each training chip's side in pixels.
///
/// The chips are shuffled (Fisher-Yates from the end), dealt into batches of one size each, sizes in rising order;
/// the last, short batch of a size is kept. With several sizes the batches are shuffled too.
pub fn batches(sides: &[u32], batch_size: usize, seed: Seed, fold: u32, pass: u32) -> Vec<Vec<usize>> {
    let mut random = generator(seed, fold, pass, 2);
    let mut order: Vec<usize> = (0..sides.len()).collect();
    shuffle(&mut order, &mut random);
    let mut batches = in_batches(&order, sides, batch_size);
    if batches.iter().any(|batch| sides[batch[0]] != sides[batches[0][0]]) {
        shuffle(&mut batches, &mut random);
    }
    batches
}

/// `order` cut into batches of at most `batch_size` chips of one size, sizes in rising order.
pub fn in_batches(order: &[usize], sides: &[u32], batch_size: usize) -> Vec<Vec<usize>> {
    let mut sizes: Vec<u32> = order.iter().map(|&i| sides[i]).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let of_size = |size: u32| order.iter().copied().filter(|&i| sides[i] == size).collect::<Vec<_>>();
    sizes.into_iter().flat_map(|s| of_size(s).chunks(batch_size).map(<[usize]>::to_vec).collect::<Vec<_>>()).collect()
}

fn shuffle<T>(items: &mut [T], random: &mut ChaCha8Rng) {
    for i in (1..items.len()).rev() {
        // The bias of the remainder of 64 bits is below 2^-32 for any list we have.
        let j = (random.next_u64() % (i as u64 + 1)) as usize;
        items.swap(i, j);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The very values: another generator, key, order of draws or shuffle is another fit under the same digest.
    #[test]
    fn draws_are_pinned() {
        let words = |purpose| {
            let mut random = generator(Seed(0x0102_0304_0506_0708), 9, 10, purpose);
            [random.next_u32(), random.next_u32()]
        };
        assert_eq!(words(1), [2_458_191_995, 2_695_839_199]);
        assert_eq!(words(2), [1_382_452_882, 1_131_444_854]);
        let mut first = Initial::new(Seed(0));
        let draws = first.uniform(4, 1.0);
        assert_eq!(draws, [-0.0066723824, 0.38001478, 0.55526435, 0.8470206]);
        assert_eq!(first.uniform(2, 0.25), [-0.17572814, 0.13062716], "they go on");
        assert_eq!(Initial::new(Seed(1)).uniform(2, 1.0), [0.714203, -0.20716166]);
        assert!(first.uniform(1000, 0.5).iter().all(|x| (-0.5..0.5).contains(x)));

        let order = |seed, fold, pass| batches(&[64; 7], 3, Seed(seed), fold, pass).concat();
        assert_eq!(order(0, 0, 1), [2, 5, 1, 3, 0, 6, 4]);
        assert_eq!(order(0, 0, 2), [6, 5, 3, 1, 0, 2, 4]);
        assert_eq!(order(0, 1, 1), [3, 0, 1, 2, 6, 5, 4]);
        assert_eq!(order(1, 0, 1), [1, 0, 6, 5, 4, 3, 2]);
        let two_sizes = batches(&[96, 64, 64, 96, 64, 64, 96], 2, Seed(0), 0, 1);
        assert_eq!(two_sizes, [vec![1, 4], vec![3, 0], vec![2, 5], vec![6]]);
    }

    #[test]
    fn each_chip_once_and_never_two_sizes_in_a_batch() {
        let sides = [64, 64, 96, 64, 96, 64, 64];
        let one = batches(&sides, 2, Seed(3), 0, 1);
        assert!(one.iter().all(|b| b.len() <= 2 && b.iter().all(|&i| sides[i] == sides[b[0]])));
        let mut all = one.concat();
        all.sort_unstable();
        assert_eq!(all, (0..7).collect::<Vec<_>>());
        assert_eq!(one.len(), 4); // 5 of 64 px in 3 batches, 2 of 96 px in 1
        assert_eq!(one, batches(&sides, 2, Seed(3), 0, 1));
        assert_ne!(batches(&[64; 9], 2, Seed(3), 0, 1), batches(&[64; 9], 2, Seed(3), 0, 2));
        assert!(batches(&[], 4, Seed(0), 0, 1).is_empty());
    }
}
