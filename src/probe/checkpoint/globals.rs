//! The names a pickle may mention. Whatever is on no list refuses the file, even when it is never called.

use super::dtype::Dtype;

/// What a name in a pickle stands for. None of them is ever imported or run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    /// A class whose instances are read as dictionaries.
    Dict,
    /// `torch._utils._rebuild_tensor_v2`.
    Tensor,
    /// `torch._utils._rebuild_parameter`: its first argument, a tensor.
    Parameter,
    /// `torch.Size`: its first argument, a tuple.
    Size,
    /// A storage class, `torch.FloatStorage`.
    Storage(Dtype),
    /// Harmless: what is made of it is a lump without content.
    Opaque,
}

/// What `module.name` stands for; `more` are full names that the configuration adds as opaque.
pub(super) fn resolve(module: &str, name: &str, more: &[String]) -> Option<Global> {
    Some(match (module, name) {
        ("collections", "OrderedDict" | "defaultdict" | "Counter") | ("builtins", "dict") => Global::Dict,
        (
            "lightning.fabric.utilities.data"
            | "lightning_fabric.utilities.data"
            | "pytorch_lightning.utilities.parsing"
            | "lightning.pytorch.utilities.parsing",
            "AttributeDict",
        ) => Global::Dict,
        ("torch._utils", "_rebuild_tensor_v2") => Global::Tensor,
        ("torch._utils", "_rebuild_parameter") => Global::Parameter,
        ("torch", "Size") => Global::Size,
        ("torch" | "torch.storage", class) if Dtype::of_storage(class).is_some() => {
            Global::Storage(Dtype::of_storage(class)?)
        }
        _ if is_harmless(module, name) => Global::Opaque,
        _ if more.iter().any(|m| m.strip_prefix(module).and_then(|m| m.strip_prefix('.')) == Some(name)) => {
            Global::Opaque
        }
        _ => return None,
    })
}

/// Python 2 names of modules, which pickles of protocol 2 still use.
pub(super) fn modern(module: &str) -> &str {
    match module {
        "__builtin__" => "builtins",
        "copy_reg" => "copyreg",
        module => module,
    }
}

/// Names that occur in real checkpoints (callbacks, hyper-parameters) and mean only data.
fn is_harmless(module: &str, name: &str) -> bool {
    match module {
        "torch" => matches!(
            name,
            "device"
                | "float64"
                | "float32"
                | "float16"
                | "bfloat16"
                | "int64"
                | "int32"
                | "int16"
                | "int8"
                | "uint8"
                | "bool"
                | "complex64"
                | "complex128"
                | "float8_e4m3fn"
                | "float8_e5m2"
                | "strided"
                | "contiguous_format"
                | "preserve_format"
                | "channels_last"
                | "Tensor"
        ),
        "torch._utils" => matches!(name, "_rebuild_tensor_v3" | "_rebuild_parameter_with_state"),
        "torch.serialization" => name == "_get_layout",
        "torch.nn.parameter" => name == "Parameter",
        "torch.torch_version" => name == "TorchVersion",
        "pathlib" | "pathlib._local" => {
            matches!(name, "Path" | "PosixPath" | "WindowsPath" | "PurePath" | "PurePosixPath" | "PureWindowsPath")
        }
        "datetime" => matches!(name, "datetime" | "date" | "time" | "timedelta" | "timezone"),
        "decimal" => name == "Decimal",
        "fractions" => name == "Fraction",
        "uuid" => name == "UUID",
        "argparse" => name == "Namespace",
        "types" => name == "SimpleNamespace",
        "collections" => matches!(name, "deque" | "ChainMap" | "UserDict"),
        "typing" => matches!(name, "Any" | "Union" | "Optional" | "Dict" | "List" | "Tuple"),
        "copyreg" => name == "_reconstructor",
        "_codecs" => name == "encode",
        "builtins" => matches!(
            name,
            "object"
                | "set"
                | "frozenset"
                | "list"
                | "tuple"
                | "int"
                | "float"
                | "bool"
                | "str"
                | "bytes"
                | "bytearray"
                | "complex"
                | "slice"
                | "range"
                | "xrange"
                | "unicode"
                | "long"
                | "NoneType"
        ),
        "numpy" => {
            matches!(
                name,
                "dtype" | "ndarray" | "bool_" | "float64" | "float32" | "float16" | "int64" | "int32" | "int8"
            )
        }
        "numpy.core.multiarray" | "numpy._core.multiarray" => matches!(name, "scalar" | "_reconstruct"),
        "numpy.core.numeric" | "numpy._core.numeric" => name == "_frombuffer",
        "numpy.dtypes" => name.ends_with("DType") && name.chars().all(|c| c.is_ascii_alphanumeric()),
        "omegaconf.dictconfig" => name == "DictConfig",
        "omegaconf.listconfig" => name == "ListConfig",
        "omegaconf.base" => matches!(name, "ContainerMetadata" | "Metadata"),
        "omegaconf.nodes" => name.ends_with("Node") && name.chars().all(|c| c.is_ascii_alphanumeric()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_no_list_is_nothing() {
        assert_eq!(resolve("torch", "FloatStorage", &[]), Some(Global::Storage(Dtype::F32)));
        assert_eq!(resolve("pathlib", "PosixPath", &[]), Some(Global::Opaque));
        for (module, name) in [("posix", "system"), ("builtins", "eval"), ("torch", "load"), ("collections", "abc")] {
            assert_eq!(resolve(module, name, &[]), None, "{module}.{name}");
        }
    }

    #[test]
    fn the_configuration_adds_full_names() {
        let more = ["my.package.Enum".to_owned()];
        assert_eq!(resolve("my.package", "Enum", &more), Some(Global::Opaque));
        assert_eq!(resolve("my", "package", &more), None);
        assert_eq!(resolve("my.package", "Enu", &more), None);
    }
}
