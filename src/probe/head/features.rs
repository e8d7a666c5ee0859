//! What a head is fitted on: features and labels of chips, and the standardisation of features.

use candle_core::{Result, Tensor};

/// A chip as heads see it.
pub struct Example {
    /// `[h*w, C]`, row by row, on the device of the fit.
    pub features: Tensor,
    /// `[side, side]`: 1 water, 0 land, anything else ignored.
    pub labels: Vec<u8>,
    /// Pixels.
    pub side: u32,
}

/// Standardisation: the mean of each channel becomes 0, its deviation 1.
#[derive(Clone, Debug)]
pub struct Scale {
    /// `[C]`, on the device of the features.
    pub mean: Tensor,
    /// `[C]`; 1 where a channel is constant.
    pub deviation: Tensor,
}

impl Scale {
    /// Mean and standard deviation (of the population) of each channel over all patches of `examples`, at least one; in
    /// f64, in two passes.
    pub fn of(examples: &[&Example]) -> Result<Self> {
        let chips = examples.iter().map(|e| e.features.to_vec2::<f32>()).collect::<Result<Vec<_>>>()?;
        let rows: Vec<&Vec<f32>> = chips.iter().flatten().collect();
        let channels = rows.first().map_or(0, |row| row.len());
        let over = |each: &dyn Fn(usize, f64) -> f64| {
            let mut sums = vec![0f64; channels];
            for row in &rows {
                sums.iter_mut().zip(*row).enumerate().for_each(|(c, (sum, &x))| *sum += each(c, f64::from(x)));
            }
            sums.iter_mut().for_each(|sum| *sum /= rows.len() as f64);
            sums
        };
        let mean = over(&|_, x| x);
        let variance = over(&|c, x| (x - mean[c]).powi(2));
        let deviation = variance.into_iter().map(|v| if v > 0.0 { v.sqrt() as f32 } else { 1.0 });
        let device = examples[0].features.device();
        let deviation = Tensor::from_iter(deviation, device)?;
        Ok(Self { mean: Tensor::from_iter(mean.iter().map(|&m| m as f32), device)?, deviation })
    }

    /// `features` `[N, C]`, standardised.
    fn apply(&self, features: &Tensor) -> Result<Tensor> {
        features.broadcast_sub(&self.mean)?.broadcast_div(&self.deviation)
    }
}

/// The features of a batch, `[B*h*w, C]`, as the head wants them.
pub(super) fn stacked<'a>(batch: impl IntoIterator<Item = &'a Example>, scale: Option<&Scale>) -> Result<Tensor> {
    let features: Vec<&Tensor> = batch.into_iter().map(|e| &e.features).collect();
    let features = Tensor::cat(&features, 0)?;
    scale.map_or(Ok(features.clone()), |scale| scale.apply(&features))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn channels_are_standardised_by_all_patches_together() {
        let example = |rows: [[f32; 2]; 2]| Example {
            features: Tensor::new(&rows, &Device::Cpu).unwrap(),
            labels: Vec::new(),
            side: 0,
        };
        // The second channel is constant, and of a size at which f32 would lose the first's variance.
        let chips = [example([[10_000.0, 7.0], [10_001.0, 7.0]]), example([[10_002.0, 7.0], [10_003.0, 7.0]])];
        let scale = Scale::of(&[&chips[0], &chips[1]]).unwrap();
        assert_eq!(scale.mean.to_vec1::<f32>().unwrap(), [10_001.5, 7.0]);
        assert_eq!(scale.deviation.to_vec1::<f32>().unwrap(), [1.25f32.sqrt(), 1.0]);
        let got = stacked(&chips, Some(&scale)).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(got[0], [-1.5 / 1.25f32.sqrt(), 0.0]);
        assert_eq!(stacked(&chips, None).unwrap().to_vec2::<f32>().unwrap()[3], [10_003.0, 7.0]);
    }
}
