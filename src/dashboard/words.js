// Words of the API as people read them.
"use strict";

// Its name, and what it is; the first is shown where nobody chose.
const METRICS = {
  iou_event: ["IoU by event", "IoU of water, mean over events"],
  iou: ["IoU", "IoU of water, pooled over pixels"],
  dice: ["Dice (= F1)", "Dice of water, pooled: equal to F1"],
  precision: ["Precision", "precision of water"],
  recall: ["Recall", "recall of water"],
  auroc: ["AUROC", "area under the ROC curve"],
  average_precision: ["AP", "average precision"],
  calibration_error: ["Calibration", "expected calibration error (less is better)"],
  loss: ["Loss", "cross-entropy (nats per labelled pixel)"],
};
// Those with a value per fit step.
const CURVES = ["iou", "dice", "precision", "recall", "loss"];
// Less is better.
const LESS = ["loss", "calibration_error"];
const INTERVALS = {
  seed_minmax: "smallest to largest over seeds",
  t95: "95% t interval of the mean over seeds",
};
const LOOKS = { done: "good", failed: "bad", rejected: "bad", vanished: "bad", probing: "busy", queued: "wait", settling: "wait", held: "wait" };
const CONTROLS = {
  random: "random encoders",
  bands: "the bands' own mean and spread",
  all_water: "everything called water",
  index: "best single index",
  from_scratch: "a network trained from scratch",
};
const ADVICE = { continue: "good", look: "wait", stop_advised: "bad", cannot_tell: "" };
