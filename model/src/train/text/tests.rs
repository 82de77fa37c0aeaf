use std::path::PathBuf;

use candle_core::DType;

use super::*;
use crate::DeviceChoice;
use crate::store::ModelStore;
use crate::tokenize::TextTokenizer;

/// A model of a few thousand weights, its parameters, and sequences of many lengths, of more tokens than one thread takes at
/// once.
pub(super) fn tiny(name: &str) -> (ModelInfo, Parameters, Vec<Vec<u32>>) {
    let folder = std::path::absolute(format!("tests/fixtures/tiny/{name}")).unwrap();
    let info = ModelStore::new("no-store").info(folder.to_str().unwrap()).unwrap();
    let mut parameters = Parameters::default();
    Layout::read(&info, &mut parameters).unwrap();
    let words = ["heart", "attack", "pain in the chest", "asthma", "type 2 diabetes", "of the arm"];
    let text = |i: usize| (0..1 + i * i % 7).map(|j| words[(i + j * j) % words.len()]).collect::<Vec<_>>().join(" ");
    let texts: Vec<String> = (0..90).map(text).collect();
    let tokens = TextTokenizer::load(&info).unwrap().tokenize(&texts).unwrap();
    (info, parameters, tokens.into_iter().map(|t| t.ids).collect())
}

fn encoder(info: &ModelInfo, precision: Precision, choice: DeviceChoice, library: Option<PathBuf>) -> TextEncoder {
    let device = Device { choice, gpu_libraries: library.into_iter().collect() };
    let encoder = TextEncoder::load(info, precision, &device, &mut Parameters::default()).unwrap();
    assert_eq!(encoder.device(), choice.to_string());
    encoder
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Every tensor's gradient against that in 64-bit floats, which is against differences (`candle`).
#[test]
fn gradients_agree_with_those_in_f64() {
    for name in ["bert-cls", "roberta-mean"] {
        let (info, parameters, tokens) = tiny(name);
        let (p, sequences) = (&parameters.values, tokens.iter().map(Vec::as_slice).collect::<Vec<&[u32]>>());
        let mut random = fastrand::Rng::with_seed(11);
        let wanted: Vec<f32> = (0..sequences.len() * info.width).map(|_| random.f32() * 2.0 - 1.0).collect();
        let of = |passes: &dyn Passes, activations: bool| {
            let (_, tape) = passes.at(p, true).unwrap().forward(&sequences, activations).unwrap();
            let mut grads = vec![0.0; p.len()];
            tape.backward(&wanted, &mut grads).unwrap();
            grads
        };
        let expected = of(&CandleText::on_cpu(&info, [DType::F64; 2]).unwrap(), true);
        // How many numbers of a gradient agree depends on how much of it cancels out.
        let (f32, bf16) = ((Precision::F32, 1e-4), (Precision::Bf16, 0.05));
        let gpu = std::env::var_os("GENEREL_CUDA").map(PathBuf::from);
        let mut all: Vec<(String, Box<dyn Passes>, f64)> = Vec::new();
        for (choice, (precision, most)) in [
            (DeviceChoice::Cpu, f32),
            (DeviceChoice::Cpu, bf16),
            (DeviceChoice::Candle, f32),
            (DeviceChoice::Candle, bf16),
            (DeviceChoice::Cuda(0), f32),
            (DeviceChoice::Cuda(0), bf16),
        ] {
            // Where there is a GPU, and a library for it.
            if gpu.is_some() || choice != DeviceChoice::Cuda(0) {
                let encoder = encoder(&info, precision, choice, gpu.clone());
                all.push((format!("{choice} {precision}"), encoder.passes, most));
            }
        }
        let pieces = CandleText::on_cpu(&info, [DType::BF16, DType::F32]).unwrap();
        all.push(("several pieces".to_string(), Box::new(pieces), bf16.1));
        for (by, passes, most) in all {
            let grads = of(&*passes, true);
            assert!(grads == of(&*passes, false), "{name} {by}: activations computed again are others");
            let length = |x: &[f32]| x.iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt();
            for (tensor, range) in parameters.ranges() {
                let (ours, exact) = (&grads[range.clone()], &expected[range]);
                let apart: Vec<f32> = ours.iter().zip(exact).map(|(a, b)| a - b).collect();
                // The gradient of keys' biases is 0 but for rounding.
                let error = length(&apart) / (length(exact) + 1e-2 * length(&expected));
                assert!(error < most, "{name} {by} {tensor}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn the_way_there_is_the_encoders() {
    use arrow::array::{AsArray, StringArray};
    use arrow::datatypes::Float32Type;
    let texts = ["heart attack", "asthma", "pain in the chest and arm"];
    for (choice, precision, least) in [
        (DeviceChoice::Cpu, Precision::F32, 0.999_999),
        (DeviceChoice::Cpu, Precision::Bf16, 0.999),
        (DeviceChoice::Candle, Precision::F32, 0.999_999),
    ] {
        let (info, parameters, _) = tiny("roberta-mean");
        let tokens = TextTokenizer::load(&info).unwrap().tokenize(&texts).unwrap();
        let sequences: Vec<&[u32]> = tokens.iter().map(|t| t.ids.as_slice()).collect();
        let encoder = encoder(&info, precision, choice, None);
        let vectors = encoder.at(&parameters.values, false).unwrap().encode(&sequences).unwrap();
        let embedder =
            crate::Embedder::new(info.with_precision(Some(Precision::F32)), crate::EmbedderOptions::default());
        let expected = embedder.embed(&StringArray::from(texts.to_vec())).await.unwrap();
        for (i, vector) in vectors.chunks_exact(encoder.dimension()).enumerate() {
            let expected = expected.value(i);
            let cosine = cosine(vector, expected.as_primitive::<Float32Type>().values());
            assert!(cosine > least, "{choice} {precision} {i}: {cosine}");
        }
    }
}
