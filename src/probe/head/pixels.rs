//! PixelShuffle: the values of a patch laid out as its pixels, and back.

/// What of a row of values (`[P, P]` per patch) lies where in the map of pixels: calls `each` with the first places of
/// runs of `patch` values.
fn runs(patches: usize, grid: usize, patch: usize, mut each: impl FnMut(usize, usize)) {
    for n in 0..patches {
        let (chip, y, x) = (n / (grid * grid), n / grid % grid, n % grid);
        for i in 0..patch {
            let row = (chip * grid + y) * patch + i;
            each((n * patch + i) * patch, (row * grid + x) * patch);
        }
    }
}

/// `[B*h*w, P*P]` to `[B, h*P, w*P]`, h = w = `grid`.
pub(super) fn to_pixels(values: &[f32], grid: usize, patch: usize) -> Vec<f32> {
    let mut pixels = vec![0.0; values.len()];
    runs(values.len() / (patch * patch), grid, patch, |from, to| {
        pixels[to..to + patch].copy_from_slice(&values[from..from + patch]);
    });
    pixels
}

/// `[B, h*P, w*P]` to `[B*h*w, P*P]`.
pub(super) fn to_patches(pixels: &[f32], grid: usize, patch: usize) -> Vec<f32> {
    let mut values = vec![0.0; pixels.len()];
    runs(pixels.len() / (patch * patch), grid, patch, |to, from| {
        values[to..to + patch].copy_from_slice(&pixels[from..from + patch]);
    });
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_the_pixels_of_their_patch() {
        // Two chips of 2x2 patches of 3x3 pixels; a value tells patch and place.
        let values: Vec<f32> = (0..72).map(|i| i as f32).collect();
        let pixels = to_pixels(&values, 2, 3);
        assert_eq!(pixels[..6], [0.0, 1.0, 2.0, 9.0, 10.0, 11.0]);
        assert_eq!(pixels[6..9], [3.0, 4.0, 5.0]);
        assert_eq!(pixels[36 + 18], 54.0, "second chip, second row of patches");
        assert_eq!(to_patches(&pixels, 2, 3), values);
    }
}
