//! Kernels of 3x3 convolutions, in the layout of their product; from PyTorch's, and gradients back to it.

// C channels in, O channels out.

/// `[3, 3, C, O]`: of a correlation with padding 1, so that each row of taps is a matrix `[3*C, O]`.
#[derive(Clone)]
pub(super) struct Kernel {
    pub input: usize,
    pub output: usize,
    pub values: Vec<f32>,
}

/// How PyTorch's weight is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `Conv2d`: `[O, C, 3, 3]`.
    Conv,
    /// `ConvTranspose2d` with stride 1 and padding 1: `[C, O, 3, 3]`, the correlation with the kernel turned by 180
    /// degrees.
    Transposed,
    /// `Conv2d` `[1, C, 3, 3]` behind a nearest doubling: a correlation of what was to be doubled, with one output for each
    /// of the four phases of its pixels. Two of three taps in a row see the same value there:
    /// `y[2i] = w0*x[i-1] + (w1+w2)*x[i]`, `y[2i+1] = (w0+w1)*x[i] + w2*x[i+1]`.
    Doubled,
}

/// What of three taps a phase's are, in one dimension: phase, its tap, the kernel's.
const PHASES: [[[f32; 3]; 3]; 2] =
    [[[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0; 3]], [[0.0; 3], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]];

impl Form {
    /// Shape of the weight in PyTorch.
    pub(super) fn shape(self, input: usize, output: usize) -> Vec<usize> {
        match self {
            Self::Conv | Self::Doubled => vec![output, input, 3, 3],
            Self::Transposed => vec![input, output, 3, 3],
        }
    }

    /// Calls `each` with pairs of places (PyTorch's weight, the kernel's) and the share of the one in the other.
    fn shares(self, input: usize, output: usize, mut each: impl FnMut(usize, usize, f32)) {
        for tap in 0..9 {
            for c in 0..input {
                match self {
                    Self::Conv => {
                        (0..output).for_each(|o| each((o * input + c) * 9 + tap, at(tap, c, o, input, output), 1.0))
                    }
                    Self::Transposed => {
                        (0..output)
                            .for_each(|o| each((c * output + o) * 9 + 8 - tap, at(tap, c, o, input, output), 1.0));
                    }
                    Self::Doubled => {
                        for (k, phase) in (0..9).flat_map(|k| (0..4).map(move |phase| (k, phase))) {
                            let share = PHASES[phase / 2][tap / 3][k / 3] * PHASES[phase % 2][tap % 3][k % 3];
                            if share != 0.0 {
                                each(c * 9 + k, at(tap, c, phase, input, 4), share);
                            }
                        }
                    }
                }
            }
        }
    }

    /// How many outputs the kernel has for one of PyTorch's.
    fn phases(self) -> usize {
        if self == Self::Doubled { 4 } else { 1 }
    }

    /// The kernel of a `weight` as PyTorch has it.
    pub(super) fn kernel(self, weight: &[f32], input: usize, output: usize) -> Kernel {
        let mut kernel = Kernel::zeros(input, output * self.phases());
        self.shares(input, output, |from, to, share| kernel.values[to] += share * weight[from]);
        kernel
    }

    /// The gradient by PyTorch's weight, from that by the kernel.
    pub(super) fn gradient(self, kernel: &Kernel, input: usize, output: usize) -> Vec<f32> {
        let mut gradient = vec![0.0; 9 * input * output];
        self.shares(input, output, |to, from, share| gradient[to] += share * kernel.values[from]);
        gradient
    }

    /// The bias of each of the kernel's outputs.
    pub(super) fn bias(self, bias: &[f32]) -> Vec<f32> {
        bias.iter().flat_map(|&b| vec![b; self.phases()]).collect()
    }

    /// The gradient by PyTorch's bias.
    pub(super) fn bias_gradient(self, gradient: &[f32]) -> Vec<f32> {
        gradient.chunks_exact(self.phases()).map(|phases| phases.iter().sum()).collect()
    }
}

/// Where a kernel has a tap of channels `c` to `o`.
fn at(tap: usize, c: usize, o: usize, input: usize, output: usize) -> usize {
    (tap * input + c) * output + o
}

impl Kernel {
    pub(super) fn zeros(input: usize, output: usize) -> Self {
        Self { input, output, values: vec![0.0; 9 * input * output] }
    }

    /// The kernel that takes a gradient of the output back to the input.
    pub(super) fn reversed(&self) -> Self {
        let Self { input, output, .. } = *self;
        let mut reversed = Self::zeros(output, input);
        for (tap, values) in self.values.chunks_exact(input * output).enumerate() {
            for (i, &value) in values.iter().enumerate() {
                reversed.values[at(8 - tap, i % output, i / output, output, input)] = value;
            }
        }
        reversed
    }
}
