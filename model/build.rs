//! With the feature `cuda`: compiles the GPU's kernels to PTX, by the nvcc that candle's own build finds too
//! (`scripts/cuda-build` brings one).

use std::path::PathBuf;
use std::process::Command;

const KERNELS: &str = "src/encoder/candle/cuda/kernels.cu";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={KERNELS}");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    println!("cargo::rerun-if-env-changed=NVCC");
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_string());
    let out = PathBuf::from(variable("OUT_DIR", ".")).join("kernels.ptx");
    let mut command = Command::new(variable("NVCC", "nvcc"));
    command.args(["-ptx", "-std=c++17", "-O3"]).arg(format!("-arch=sm_{}", variable("CUDA_COMPUTE_CAP", "80")));
    command.arg(KERNELS).arg("-o").arg(out);
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{command:?} ended with {status}"),
        Err(error) => panic!("{command:?} cannot be run: {error}; set NVCC, or use scripts/cuda-build"),
    }
}
