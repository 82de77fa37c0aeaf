//! The kernels of `kernels.cu` as candle operations on contiguous tensors of 32-bit or bfloat16 floats.

use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::driver::{CudaView, DeviceRepr, LaunchConfig, PushKernelArg};
use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp1, DType, InplaceOp1, InplaceOp2, Layout, Result, Shape, Storage,
    Tensor, bail,
};
use half::bf16;

use super::super::DeviceNorm;
use crate::kernels::Activation;

const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));
/// Rows of a block: a warp each, as in `kernels.cu`.
const WARPS: usize = 4;
/// Rows that attention on tensor cores takes at once.
pub(super) const TILE: usize = 16;
/// Values of a head that they take at once.
const TILE_VALUES: usize = 32;
/// Threads of a block where a row is not a warp's.
const THREADS: usize = 128;
/// Columns that a thread takes at once.
const COLUMNS: usize = 4;
/// Bytes of shared memory that every device gives a block.
const SHARED: usize = 48 << 10;

/// The packed sequences of a batch on the device: what each row's token is and belongs to.
pub(super) struct Tokens {
    /// One after the other: for each row its id, its sequence's first row, and its length; for each sequence its first
    /// row, and its length; for each tile its sequence's first row, its length, and the tile's first place in it.
    pub(super) all: Tensor,
    pub(super) rows: usize,
    pub(super) sequences: usize,
    /// Pieces of sequences of [`TILE`] rows at most.
    pub(super) tiles: usize,
}

/// The types that kernels are made for.
trait Element: CudaDType + DeviceRepr {
    const NAME: &'static str;
    /// Whether tensor cores multiply them without loss.
    const TENSOR_CORES: bool;
}

impl Element for f32 {
    const NAME: &'static str = "f32";
    const TENSOR_CORES: bool = false;
}

impl Element for bf16 {
    const NAME: &'static str = "bf16";
    const TENSOR_CORES: bool = true;
}

/// Whether the kernels have a form for a model of these sizes.
pub(super) fn fit(hidden: usize, wide: usize, head_size: usize) -> bool {
    hidden.is_multiple_of(COLUMNS)
        && wide.is_multiple_of(COLUMNS)
        && WARPS * hidden * size_of::<f32>() <= SHARED
        && lane_values(head_size).is_some()
}

/// How many values of a head a lane takes.
fn lane_values(head_size: usize) -> Option<usize> {
    [1, 2, 4, 8].into_iter().find(|n| 32 * n >= head_size).filter(|n| head_size.is_multiple_of(*n))
}

/// `LayerNorm(words[id] + positions[place] + token_type)`, `[rows, hidden]`.
pub(super) struct Embed<'a> {
    pub(super) tokens: &'a Tokens,
    pub(super) positions: &'a Tensor,
    pub(super) token_type: &'a Tensor,
    pub(super) norm: &'a DeviceNorm,
}

/// `[rows, 3 · hidden]` without bias → `[rows, hidden]`.
pub(super) struct Attend<'a> {
    pub(super) tokens: &'a Tokens,
    pub(super) bias: &'a Tensor,
    pub(super) heads: usize,
    pub(super) distances: &'a Distances,
}

/// What distances of key and query add to scores.
pub(super) struct Distances {
    /// `[heads, 2 · longest − 1]`, in 32-bit floats.
    pub(super) values: Tensor,
    /// Tokens of the longest sequence; 0 where distances add nothing.
    pub(super) longest: usize,
}

/// `x = LayerNorm(x + bias + residual)`; the residual is the second operand.
pub(super) struct AddNorm<'a> {
    pub(super) bias: &'a Tensor,
    pub(super) norm: &'a DeviceNorm,
}

/// `x = activation(x + bias)`.
pub(super) struct AddActivate<'a> {
    pub(super) bias: &'a Tensor,
    pub(super) activation: Activation,
}

/// `[rows, hidden]` → `[sequences, hidden]` of length 1, in 32-bit floats.
pub(super) struct Pool<'a> {
    pub(super) tokens: &'a Tokens,
    pub(super) first_only: bool,
}

/// The part of a storage that a tensor is.
fn view<'a, T: CudaDType>(storage: &'a CudaStorage, layout: &Layout) -> Result<CudaView<'a, T>> {
    let Some((from, to)) = layout.contiguous_offsets() else { bail!("an operand is not contiguous") };
    Ok(storage.as_cuda_slice::<T>()?.slice(from..to))
}

/// Binds the views of tensors that an operation has beside its operands.
macro_rules! views {
    ($($name:ident: $type:ty = $tensor:expr;)*) => {
        $(
            let (storage, layout) = $tensor.storage_and_layout();
            let Storage::Cuda(storage) = &*storage else { bail!("an operand is not on the GPU") };
            let $name = view::<$type>(storage, layout)?;
        )*
    };
}

/// Launches a kernel with these arguments.
macro_rules! launch {
    ($device:expr, $function:expr, $grid:expr, $threads:expr, $shared:expr, $($argument:expr),*) => {{
        let function = $device.get_or_load_custom_func(&$function, "generel", PTX)?;
        let (x, y) = $grid;
        let config = LaunchConfig {
            grid_dim: (x as u32, y as u32, 1),
            block_dim: ($threads as u32, 1, 1),
            shared_mem_bytes: $shared as u32,
        };
        let mut builder = function.builder();
        // SAFETY: the arguments are those of the kernel in `kernels.cu`, and the views have the sizes that its other
        // arguments say.
        unsafe { builder$(.arg($argument))*.launch(config) }.map_err(candle_core::Error::wrap)?;
    }};
}

/// Runs a generic method for the operand's type.
macro_rules! by_type {
    ($storage:expr, $self:ident.$method:ident($($argument:expr),*)) => {
        match candle_core::backend::BackendStorage::dtype($storage) {
            DType::F32 => $self.$method::<f32>($($argument),*),
            DType::BF16 => $self.$method::<bf16>($($argument),*),
            other => bail!("no kernels for {other:?}"),
        }
    };
}

fn shape2(layout: &Layout) -> Result<(usize, usize)> {
    layout.shape().dims2()
}

fn no_cpu<T>() -> Result<T> {
    bail!("these kernels are for a GPU")
}

impl Embed<'_> {
    fn launch<T: Element>(&self, words: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (device, (_, hidden), rows) = (&words.device, shape2(layout)?, self.tokens.rows);
        let words = view::<T>(words, layout)?;
        views! {
            tokens: u32 = self.tokens.all;
            positions: T = self.positions;
            token_type: T = self.token_type;
            weight: T = self.norm.weight;
            bias: T = self.norm.bias;
        }
        let mut out = alloc::<T>(device, rows * hidden)?;
        launch!(
            device,
            format!("embed_{}", T::NAME),
            (rows.div_ceil(WARPS), 1),
            32 * WARPS,
            WARPS * hidden * size_of::<f32>(),
            &tokens,
            &(rows as i32),
            &(hidden as i32),
            &words,
            &positions,
            &token_type,
            &weight,
            &bias,
            &self.norm.epsilon,
            &mut out
        );
        Ok((CudaStorage::wrap_cuda_slice(out, device.clone()), (rows, hidden).into()))
    }
}

impl Attend<'_> {
    fn launch<T: Element>(&self, qkv: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (device, (rows, columns), heads) = (&qkv.device, shape2(layout)?, self.heads);
        let hidden = columns / 3;
        let size = hidden / heads;
        let qkv = view::<T>(qkv, layout)?;
        views! {
            tokens: u32 = self.tokens.all;
            bias: T = self.bias;
            distances: f32 = self.distances.values;
        }
        let mut out = alloc::<T>(device, rows * hidden)?;
        let longest = self.distances.longest as i32;
        if T::TENSOR_CORES && size.is_multiple_of(TILE_VALUES) && size <= 4 * TILE_VALUES {
            let count = self.tokens.tiles;
            let tiles = tokens.slice(3 * rows + 2 * self.tokens.sequences..);
            launch!(
                device,
                format!("attend_tiles_{}", size / TILE_VALUES),
                (count.div_ceil(WARPS), heads),
                32 * WARPS,
                0,
                &qkv,
                &bias,
                &tiles,
                &(count as i32),
                &(heads as i32),
                &distances,
                &longest,
                &mut out
            );
        } else {
            let Some(values) = lane_values(size) else { bail!("no kernel for heads of {size} values") };
            launch!(
                device,
                format!("attend_{}_{values}", T::NAME),
                (rows.div_ceil(WARPS), heads),
                32 * WARPS,
                0,
                &qkv,
                &bias,
                &tokens,
                &(rows as i32),
                &(heads as i32),
                &(size as i32),
                &distances,
                &longest,
                &mut out
            );
        }
        Ok((CudaStorage::wrap_cuda_slice(out, device.clone()), (rows, hidden).into()))
    }
}

impl AddNorm<'_> {
    fn launch<T: Element>(&self, x: &mut CudaStorage, l: &Layout, residual: &CudaStorage, rl: &Layout) -> Result<()> {
        let (device, (rows, hidden)) = (x.device.clone(), shape2(l)?);
        views! {
            added: T = self.bias;
            weight: T = self.norm.weight;
            bias: T = self.norm.bias;
        }
        let residual = view::<T>(residual, rl)?;
        let Some((from, to)) = l.contiguous_offsets() else { bail!("an operand is not contiguous") };
        let mut x = x.as_cuda_slice_mut::<T>()?.slice_mut(from..to);
        launch!(
            device,
            format!("add_norm_{}", T::NAME),
            (rows.div_ceil(WARPS), 1),
            32 * WARPS,
            WARPS * hidden * size_of::<f32>(),
            &mut x,
            &residual,
            &added,
            &weight,
            &bias,
            &self.norm.epsilon,
            &(rows as i32),
            &(hidden as i32)
        );
        Ok(())
    }
}

impl AddActivate<'_> {
    fn launch<T: Element>(&self, x: &mut CudaStorage, l: &Layout) -> Result<()> {
        let (device, (rows, width)) = (x.device.clone(), shape2(l)?);
        views! { bias: T = self.bias; }
        let Some((from, to)) = l.contiguous_offsets() else { bail!("an operand is not contiguous") };
        let mut x = x.as_cuda_slice_mut::<T>()?.slice_mut(from..to);
        let activation = match self.activation {
            Activation::None => 0i32,
            Activation::Gelu => 1,
            Activation::GeluTanh => 2,
            Activation::Relu => 3,
        };
        launch!(
            device,
            format!("add_activate_{}", T::NAME),
            (width.div_ceil(COLUMNS * THREADS), rows),
            THREADS,
            0,
            &mut x,
            &bias,
            &(width as i32),
            &activation
        );
        Ok(())
    }
}

impl Pool<'_> {
    fn launch<T: Element>(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (device, (rows, hidden), sequences) = (&x.device, shape2(layout)?, self.tokens.sequences);
        let x = view::<T>(x, layout)?;
        views! { tokens: u32 = self.tokens.all; }
        let mut out = alloc::<f32>(device, sequences * hidden)?;
        launch!(
            device,
            format!("pool_{}", T::NAME),
            (sequences, 1),
            THREADS,
            hidden * size_of::<f32>(),
            &x,
            &tokens,
            &(rows as i32),
            &(sequences as i32),
            &(hidden as i32),
            &i32::from(self.first_only),
            &mut out
        );
        Ok((CudaStorage::wrap_cuda_slice(out, device.clone()), (sequences, hidden).into()))
    }
}

/// Room for what a kernel writes every value of.
fn alloc<T: DeviceRepr>(
    device: &CudaDevice,
    len: usize,
) -> Result<candle_core::cuda_backend::cudarc::driver::CudaSlice<T>> {
    // SAFETY: nothing reads it before the kernel has written it.
    unsafe { device.alloc::<T>(len) }
}

macro_rules! custom_op {
    ($type:ident, $name:literal) => {
        impl CustomOp1 for $type<'_> {
            fn name(&self) -> &'static str {
                $name
            }

            fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
                no_cpu()
            }

            fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
                by_type!(storage, self.launch(storage, layout))
            }
        }
    };
}

custom_op!(Embed, "embed");
custom_op!(Attend, "attend");
custom_op!(Pool, "pool");

impl InplaceOp1 for AddActivate<'_> {
    fn name(&self) -> &'static str {
        "add_activate"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        no_cpu()
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
        by_type!(storage, self.launch(storage, layout))
    }
}

impl InplaceOp2 for AddNorm<'_> {
    fn name(&self) -> &'static str {
        "add_norm"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        no_cpu()
    }

    fn cuda_fwd(&self, x: &mut CudaStorage, l: &Layout, residual: &CudaStorage, rl: &Layout) -> Result<()> {
        by_type!(x, self.launch(x, l, residual, rl))
    }
}
