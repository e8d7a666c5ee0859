//! What Clay v1's inputs are normalised by where nobody tells: the values of Clay's own `metadata.yaml`.

use std::collections::BTreeMap;

use crate::domain::{Generation, Input, InputMetadata, InputStatistics};

/// The values of Clay's `configs/metadata.yaml` (main branch, a5790ce, 2025-10-20). v1.0 took radar in linear power, and
/// had other statistics for it; the optical ones are the same.
pub fn built_in(generation: Generation) -> InputMetadata {
    let optical = InputStatistics {
        wavelengths: vec![0.493, 0.56, 0.665, 0.704, 0.74, 0.783, 0.842, 0.865, 1.61, 2.19],
        mean: vec![1105.0, 1355.0, 1552.0, 1887.0, 2422.0, 2630.0, 2743.0, 2785.0, 2388.0, 1835.0],
        std: vec![1809.0, 1757.0, 1888.0, 1870.0, 1732.0, 1697.0, 1742.0, 1648.0, 1470.0, 1379.0],
        gsd: 10.0,
    };
    let (mean, std) = match generation {
        Generation::V1_0 => (vec![0.123_273, 0.027_337], vec![1.492_154, 0.122_182]),
        Generation::V0 | Generation::V1_5 => (vec![-12.113, -18.673], vec![8.314, 8.017]),
    };
    let radar = InputStatistics { wavelengths: vec![3.5, 4.0], mean, std, gsd: 10.0 };
    InputMetadata {
        source: format!("built in, of Clay v{generation}"),
        inputs: BTreeMap::from([(Input::Sentinel2L2a, optical), (Input::Sentinel1Rtc, radar)]),
    }
}
