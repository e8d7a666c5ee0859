//! Stored element types: their names, widths, and how their bytes become f32.

use half::{bf16, f16};

/// An element type that PyTorch or safetensors can store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) enum Dtype {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
    /// A type that no encoder holds, with its width in bytes.
    Other(&'static str, usize),
}

impl Dtype {
    /// The type of a PyTorch storage class, such as `FloatStorage`.
    pub fn of_storage(class: &str) -> Option<Self> {
        Some(match class {
            "DoubleStorage" => Self::F64,
            "FloatStorage" => Self::F32,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "LongStorage" => Self::I64,
            "IntStorage" => Self::I32,
            "ShortStorage" => Self::I16,
            "CharStorage" => Self::I8,
            "ByteStorage" => Self::U8,
            "BoolStorage" => Self::Bool,
            "UntypedStorage" => Self::Other("untyped", 1),
            "ComplexFloatStorage" => Self::Other("c64", 8),
            "ComplexDoubleStorage" => Self::Other("c128", 16),
            "QInt8Storage" => Self::Other("qint8", 1),
            "QUInt8Storage" => Self::Other("quint8", 1),
            "QInt32Storage" => Self::Other("qint32", 4),
            _ => return None,
        })
    }

    /// The type of a safetensors entry, such as `BF16`.
    pub fn of_safetensors(name: &str) -> Option<Self> {
        Some(match name {
            "F64" => Self::F64,
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::Bf16,
            "I64" => Self::I64,
            "I32" => Self::I32,
            "I16" => Self::I16,
            "I8" => Self::I8,
            "U8" => Self::U8,
            "BOOL" => Self::Bool,
            "U64" => Self::Other("u64", 8),
            "U32" => Self::Other("u32", 4),
            "U16" => Self::Other("u16", 2),
            "F8_E4M3" => Self::Other("f8_e4m3", 1),
            "F8_E5M2" => Self::Other("f8_e5m2", 1),
            "C64" => Self::Other("c64", 8),
            _ => return None,
        })
    }

    /// The name in JSON and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U8 => "u8",
            Self::Bool => "bool",
            Self::Other(name, _) => name,
        }
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::Other(_, size) => size,
        }
    }

    /// The values of little-endian `bytes` as f32, or nothing for a type that is not floating.
    pub fn values(self, bytes: &[u8]) -> Option<Vec<f32>> {
        Some(match self {
            Self::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect(),
            Self::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Self::F16 => bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
            Self::Bf16 => bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
            _ => return None,
        })
    }

    /// How many of the values in little-endian `bytes` are not finite as f32; 0 for a type that is not floating.
    pub fn count_non_finite(self, bytes: &[u8]) -> usize {
        match self {
            Self::F64 => count(bytes.as_chunks().0, |b| (f64::from_le_bytes(b) as f32).is_finite()),
            Self::F32 => count(bytes.as_chunks().0, |b| f32::from_le_bytes(b).is_finite()),
            Self::F16 => count(bytes.as_chunks().0, |b| f16::from_le_bytes(b).is_finite()),
            Self::Bf16 => count(bytes.as_chunks().0, |b| bf16::from_le_bytes(b).is_finite()),
            _ => 0,
        }
    }
}

fn count<const N: usize>(values: &[[u8; N]], finite: impl Fn([u8; N]) -> bool) -> usize {
    values.iter().filter(|&&b| !finite(b)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_become_f32() {
        let halves: Vec<u8> = [1.5f32, -0.25].iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        assert_eq!(Dtype::F16.values(&halves).unwrap(), [1.5, -0.25]);
        let brains: Vec<u8> = [1.5f32, -0.25].iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
        assert_eq!(Dtype::Bf16.values(&brains).unwrap(), [1.5, -0.25]);
        assert_eq!(Dtype::I64.values(&[0; 8]), None);
    }

    #[test]
    fn what_is_not_finite_is_counted() {
        let bytes: Vec<u8> = [1.0, f32::NAN, f32::INFINITY].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(Dtype::F32.count_non_finite(&bytes), 2);
        assert_eq!(Dtype::F64.count_non_finite(&1e300f64.to_le_bytes()), 1, "too large for f32");
        assert_eq!(Dtype::F16.count_non_finite(&f16::NEG_INFINITY.to_le_bytes()), 1);
        assert_eq!(Dtype::Bf16.count_non_finite(&bf16::NAN.to_le_bytes()), 1);
    }
}
