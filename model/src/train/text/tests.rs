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

fn passes(info: &ModelInfo, precision: Precision, choice: DeviceChoice) -> TextEncoder {
    let device = Device { choice, gpu_libraries: Vec::new() };
    TextEncoder::load(info, precision, &device, &mut Parameters::default()).unwrap()
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
        let expected = of(&CandleText::exact(&info).unwrap(), true);
        // How many numbers of a gradient agree depends on how much of it cancels out.
        for (choice, precision, most) in [
            (DeviceChoice::Cpu, Precision::F32, 1e-4),
            (DeviceChoice::Cpu, Precision::Bf16, 0.05),
            (DeviceChoice::Candle, Precision::F32, 1e-4),
        ] {
            let encoder = passes(&info, precision, choice);
            assert_eq!(encoder.device(), choice.to_string());
            let grads = of(&*encoder.passes, true);
            assert!(grads == of(&*encoder.passes, false), "{name} {choice}: activations computed again are others");
            let length = |x: &[f32]| x.iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt();
            for (tensor, range) in parameters.ranges() {
                let (ours, exact) = (&grads[range.clone()], &expected[range]);
                let apart: Vec<f32> = ours.iter().zip(exact).map(|(a, b)| a - b).collect();
                let error = length(&apart) / (length(exact) + 1e-3 * length(&expected));
                assert!(error < most, "{name} {choice} {precision} {tensor}: {error}");
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
        let encoder = passes(&info, precision, choice);
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
