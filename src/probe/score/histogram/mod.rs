//! Logits of wet and dry pixels in bins: small enough to keep per chip and fit, and enough for any threshold, for ranks
//! and for calibration.
//!
//! What is read off is exact for the *binned* logit: each pixel stands for the centre of its bin. Against the logit
//! itself (`tests/compare_metrics.py`, logits within ±16): AUROC and AP pooled over 40 masks are off by under 2e-3; of
//! one mask with at least 50 pixels of either class AUROC by under 2e-3, AP and the calibration error by under 1e-2.
//! Beyond ±16 there is no order.

mod bins; // counting, merging, keeping
mod read; // confusion at a threshold, AUROC, AP, calibration

pub use bins::{BINS, Histogram, LIMIT, NotAHistogram, StoredHistogram};
pub use read::{AtThreshold, CALIBRATION_BINS};
