//! Bands of a chip, the layouts they come in, and the optical processing level.

use super::words;

words! {
    /// A band, in one unit everywhere: optical reflectance x 10000, radar linear power, metres.
    pub enum Band {
        B01 = "B01",
        B02 = "B02",
        B03 = "B03",
        B04 = "B04",
        B05 = "B05",
        B06 = "B06",
        B07 = "B07",
        B08 = "B08",
        B8A = "B8A",
        B09 = "B09",
        B10 = "B10",
        B11 = "B11",
        B12 = "B12",
        /// Sentinel-1, cross-polarised.
        Vh = "VH",
        /// Sentinel-1, co-polarised.
        Vv = "VV",
        /// Elevation.
        Dem = "DEM",
    }
}

words! {
    /// How a data set lies on disk.
    pub enum LayoutName {
        /// 13 bands in one file: `<data>/<event>/<stem>.tif`, with its labels beside it.
        Cube = "cube",
        /// Sen1Floods11 v1.1, hand-labelled part.
        Sen1Floods11 = "sen1floods11",
        /// Raw C2S-MS: a file per band.
        C2smsFloods = "c2smsfloods",
    }
}

words! {
    /// The processing level of optical bands.
    pub enum Level {
        /// Top of the atmosphere.
        L1c = "L1C",
        /// Surface.
        L2a = "L2A",
    }
}

impl Band {
    /// Sentinel-1, whose unit is a power.
    pub fn is_radar(self) -> bool {
        matches!(self, Self::Vh | Self::Vv)
    }

    /// Sentinel-2, whose unit is a reflectance.
    pub fn is_optical(self) -> bool {
        !self.is_radar() && self != Self::Dem
    }
}
