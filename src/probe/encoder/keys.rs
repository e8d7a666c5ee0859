//! The tensors a Clay v0 encoder must have; its size, inferred from their shapes.
