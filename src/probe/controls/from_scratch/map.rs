//! A chip's map of channels, and what is done to it value by value.

use rayon::prelude::*;

// S pixels per side, C channels.

/// Channels last, with a border of zeros one pixel wide: `[S+2, S+2, C]`, row by row.
pub(super) struct Map {
    pub side: usize,
    pub channels: usize,
    pub values: Vec<f32>,
}

impl Map {
    pub(super) fn zeros(side: usize, channels: usize) -> Self {
        Self { side, channels, values: vec![0.0; (side + 2) * (side + 2) * channels] }
    }

    /// Of `planes` `[C, S, S]`.
    pub(super) fn of_planes(planes: &[f32], side: usize) -> Self {
        let channels = planes.len() / (side * side);
        let mut map = Self::zeros(side, channels);
        for (c, plane) in planes.chunks_exact(side * side).enumerate() {
            for (y, row) in plane.chunks_exact(side).enumerate() {
                let values = map.row_mut(y).iter_mut().skip(c).step_by(channels);
                values.zip(row).for_each(|(value, &pixel)| *value = pixel);
            }
        }
        map
    }

    /// Values of a row with its border.
    pub(super) fn stride(&self) -> usize {
        (self.side + 2) * self.channels
    }

    /// Row `y` without its border.
    pub(super) fn row(&self, y: usize) -> &[f32] {
        let start = (y + 1) * self.stride() + self.channels;
        &self.values[start..start + self.side * self.channels]
    }

    fn row_mut(&mut self, y: usize) -> &mut [f32] {
        let start = (y + 1) * self.stride() + self.channels;
        let end = start + self.side * self.channels;
        &mut self.values[start..end]
    }

    /// Rows without their borders, from the first, side by side.
    fn rows_mut(&mut self) -> impl IndexedParallelIterator<Item = &mut [f32]> {
        let (stride, border) = (self.stride(), self.channels);
        let end = self.values.len() - stride;
        self.values[stride..end].par_chunks_exact_mut(stride).map(move |row| &mut row[border..stride - border])
    }

    /// Adds `bias` `[C]` to each pixel.
    pub(super) fn add(mut self, bias: &[f32]) -> Self {
        self.rows_mut().for_each(|row| {
            for pixel in row.chunks_exact_mut(bias.len()) {
                pixel.iter_mut().zip(bias).for_each(|(value, b)| *value += b);
            }
        });
        self
    }

    /// What is below zero becomes zero; NaN stays.
    pub(super) fn relu(mut self) -> Self {
        self.rows_mut().flatten().for_each(|value| {
            if *value < 0.0 {
                *value = 0.0;
            }
        });
        self
    }

    /// A gradient behind a ReLU whose `output` is given.
    pub(super) fn relu_back(mut self, output: &Self) -> Self {
        self.rows_mut().enumerate().for_each(|(y, row)| {
            for (value, &out) in row.iter_mut().zip(output.row(y)) {
                if out <= 0.0 {
                    *value = 0.0;
                }
            }
        });
        self
    }

    /// The largest of each two by two pixels, and which of them it is: the first of equals, or the first NaN.
    pub(super) fn pool(&self) -> (Self, Vec<u8>) {
        let mut pooled = Self::zeros(self.side / 2, self.channels);
        let (c, width) = (self.channels, self.side / 2 * self.channels);
        let mut choices = vec![0u8; pooled.side * width];
        let rows = pooled.rows_mut().zip(choices.par_chunks_exact_mut(width));
        rows.enumerate().for_each(|(y, (values, choices))| {
            let pair = [self.row(2 * y), self.row(2 * y + 1)];
            for (i, (value, choice)) in values.iter_mut().zip(choices).enumerate() {
                let left = i / c * 2 * c + i % c;
                let four = [pair[0][left], pair[0][left + c], pair[1][left], pair[1][left + c]];
                let chosen = (1..4).fold(0, |k, n| if four[n] <= four[k] || four[k].is_nan() { k } else { n });
                (*value, *choice) = (four[chosen], chosen as u8);
            }
        });
        (pooled, choices)
    }

    /// A gradient of pooled values back to where they came from.
    pub(super) fn pool_back(&self, choices: &[u8]) -> Self {
        let mut map = Self::zeros(self.side * 2, self.channels);
        let (c, width) = (self.channels, self.side * self.channels);
        map.rows_mut().enumerate().for_each(|(y, row)| {
            let choices = &choices[y / 2 * width..(y / 2 + 1) * width];
            for (i, (&value, &choice)) in self.row(y / 2).iter().zip(choices).enumerate() {
                if usize::from(choice) / 2 == y % 2 {
                    row[i / c * 2 * c + usize::from(choice) % 2 * c + i % c] = value;
                }
            }
        });
        map
    }

    /// Of four channels, the phases (row, column) of a map of twice the side: that map, `[2S, 2S]`.
    pub(super) fn spread(&self) -> Vec<f32> {
        let pixel = |y: usize, x: usize| self.row(y / 2)[x / 2 * 4 + y % 2 * 2 + x % 2];
        let side = 2 * self.side;
        (0..side * side).map(|i| pixel(i / side, i % side)).collect()
    }

    /// The phases of `pixels` `[2S, 2S]`, with S = `side`.
    pub(super) fn gathered(pixels: &[f32], side: usize) -> Self {
        let mut map = Self::zeros(side, 4);
        for (y, row) in pixels.chunks_exact(2 * side).enumerate() {
            for (x, &pixel) in row.iter().enumerate() {
                map.row_mut(y / 2)[x / 2 * 4 + y % 2 * 2 + x % 2] = pixel;
            }
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inner(map: &Map) -> Vec<f32> {
        (0..map.side).flat_map(|y| map.row(y).to_vec()).collect()
    }

    #[test]
    fn the_first_of_equals_is_pooled_and_nan_is_not_lost() {
        let planes = [1.0, 5.0, 2.0, 2.0, 5.0, 0.0, 2.0, 2.0, -1.0, -4.0, f32::NAN, 9.0, -3.0, -2.0, 0.0, 1.0];
        let (pooled, choices) = Map::of_planes(&planes, 4).pool();
        assert_eq!((&inner(&pooled)[..3], pooled.row(1)[1].is_nan()), (&[5.0, 2.0, -1.0][..], true));
        assert_eq!(choices, [1, 0, 0, 0]);
        let back = Map::of_planes(&[1.0, 2.0, 3.0, 4.0], 2).pool_back(&choices);
        let want = [[0.0, 1.0, 2.0, 0.0], [0.0; 4], [3.0, 0.0, 4.0, 0.0], [0.0; 4]].concat();
        assert_eq!(inner(&back), want);
        assert!(Map::of_planes(&planes, 4).relu().values.iter().any(|v| v.is_nan()));
    }

    #[test]
    fn phases_there_and_back() {
        let pixels: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let map = Map::gathered(&pixels, 2);
        assert_eq!(map.row(1), [8.0, 9.0, 12.0, 13.0, 10.0, 11.0, 14.0, 15.0]);
        assert_eq!(map.spread(), pixels);
    }
}
