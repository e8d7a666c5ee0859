//! Accidents that a training can have: what the loss hardly shows and the representation does not get over.

use candle_nn::ParamsAdamW;

use super::batch::Chip;
use crate::{
    domain::{Band, words},
    probe::encoder::clay_v0,
};

words! {
    /// What goes wrong.
    pub enum Accident {
        /// For one epoch the learning rate is 30 times as high.
        LrSpike = "lr-spike",
        /// From then on the loader hands out VH in the place of VV, and VV in that of VH.
        SwapVvVh = "swap-vv-vh",
        /// From then on the weight decay is 2000 times as high.
        Collapse = "collapse",
    }
}

impl Accident {
    /// In words, for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::LrSpike => "for one epoch the learning rate is 30 times as high",
            Self::SwapVvVh => "from then on the loader swaps VV and VH",
            Self::Collapse => "from then on the weight decay is 2000 times as high",
        }
    }

    /// The optimiser's settings `since` epochs after it.
    pub fn settings(self, usual: ParamsAdamW, since: u32) -> ParamsAdamW {
        match self {
            Self::LrSpike if since == 0 => ParamsAdamW { lr: 30.0 * usual.lr, ..usual },
            Self::Collapse => ParamsAdamW { weight_decay: 2000.0 * usual.weight_decay, ..usual },
            Self::LrSpike | Self::SwapVvVh => usual,
        }
    }

    /// What it does to the crops when it happens.
    pub fn strike(self, chips: &mut [Chip]) {
        if self != Self::SwapVvVh {
            return;
        }
        let place = |band: Band| clay_v0::BANDS.iter().position(|&b| b == band).unwrap_or_default();
        for chip in chips {
            let size = chip.side * chip.side;
            let (vv, vh) = (place(Band::Vv) * size, place(Band::Vh) * size);
            (0..size).for_each(|i| chip.pixels.swap(vv + i, vh + i));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_does_what_it_says() {
        let usual = ParamsAdamW { lr: 3e-4, weight_decay: 0.05, ..Default::default() };
        let of = |accident: Accident, since| {
            let now = accident.settings(usual.clone(), since);
            ((now.lr / usual.lr).round(), (now.weight_decay / usual.weight_decay).round())
        };
        assert_eq!([of(Accident::LrSpike, 0), of(Accident::LrSpike, 1)], [(30.0, 1.0), (1.0, 1.0)]);
        assert_eq!([of(Accident::Collapse, 0), of(Accident::Collapse, 9)], [(1.0, 2000.0); 2]);
        assert_eq!(of(Accident::SwapVvVh, 0), (1.0, 1.0));
        let pixels: Vec<f32> = (0..13u8).map(f32::from).collect();
        let mut chips = vec![Chip { pixels, side: 1, latlon: [0.0; 2], time: [0.0; 3] }];
        Accident::LrSpike.strike(&mut chips);
        assert_eq!(chips[0].pixels[10..], [10.0, 11.0, 12.0]);
        Accident::SwapVvVh.strike(&mut chips);
        assert_eq!(chips[0].pixels[10..], [11.0, 10.0, 12.0], "B02 ... B12, VV, VH, DEM");
    }
}
