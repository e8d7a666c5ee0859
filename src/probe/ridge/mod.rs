//! The quick score: closed-form ridge on the water fraction of patches, each fold predicted by the others.
//!
//! The definition is that of the demo's prototype (`quick_r2`): features standardised by the training rows (deviation
//! of the population + 1e-6), an intercept (the mean of the targets), the kernel divided by the number of channels, and
//! for each fold the penalty whose squared error over inner folds of its training side is least. A penalty p is
//! scikit-learn's `Ridge(alpha = p * C)` on the standardised features.

mod fit; // one set of rows, all penalties
mod folds; // which rows teach which, and the choice of penalty
mod patches; // what it is given
mod score; // R² and AUROC, and the sums of each event

pub use fit::PENALTIES;
pub use folds::{Chosen, ChosenBy, OutOfFold, out_of_fold};
pub use patches::{Patches, RidgeError, WaterFractions};
pub use score::{EventSums, Quick, Undefined, event_sums, quick};
