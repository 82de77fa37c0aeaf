"""What other runtimes need to turn the same names into vectors with the same model: names a second, by one peer.

    python benches/embed_peers.py PEER MODEL_DIR NAMES.txt [--threads 2] [--vectors OUT.npy] [--reference F32.npy]
                                  [--seconds-budget 300] [--batch N] [--cache DIR]

PEER: sentence-transformers, torch-bf16, onnxruntime-f32, onnxruntime-int8, openvino-f32, openvino-bf16,
openvino-int8; torch-cuda-f32, torch-cuda-bf16, torch-cuda-f16 are sentence-transformers on a GPU. MODEL_DIR: a BERT
model in the Hugging Face layout (config.json, tokenizer.json, model.safetensors).
NAMES.txt: one name a line; each is NFKC-normalized and its whitespace collapsed, outside the timing.

Timed is all that a user waits for: fast tokenizer, sorting by token count, padding to the longest of the batch,
forward, pooling, L2 normalization. Not timed are export, quantization and compilation (cached in DIR, by default a
folder under the system's temporary one) and a warm-up pass. The batch size is the fastest of 32, 64, 128 (a GPU: up
to 4096) over a sample of the names. Passes are repeated while the seconds budget lasts, at most five; the fastest
counts. Prints one JSON line; min_cosine compares the vectors with those of --reference, in the order of NAMES.txt.

Run without OPENBLAS_* and OMP_* variables in the environment. Needs benches/requirements.txt.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
import unicodedata
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

BATCHES = (32, 64, 128)
GPU_BATCHES = (128, 512, 2048, 4096)
SAMPLE = 2000
GPU_SAMPLE = 50_000
PASSES = 5


def cpu_flags():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line.split(":")[1].split() for line in lines if line.startswith("flags")), []))


class Texts:
    """The model's fast tokenizer: texts to lists of ids, then to padded arrays."""

    def __init__(self, folder):
        import tokenizers

        self.fast = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.fast.no_padding()
        self.fast.enable_truncation(max_tokens(folder))

    def __call__(self, texts):
        return [encoding.ids for encoding in self.fast.encode_batch_fast(texts)]

    @staticmethod
    def batches(ids, size):
        """(indices, ids, mask) a batch, shortest texts first."""
        import numpy as np

        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for start in range(0, len(order), size):
            some = order[start : start + size]
            length = len(ids[some[-1]])
            padded = np.zeros((len(some), length), dtype=np.int64)
            mask = np.zeros((len(some), length), dtype=np.int64)
            for row, i in enumerate(some):
                padded[row, : len(ids[i])] = ids[i]
                mask[row, : len(ids[i])] = 1
            yield some, padded, mask


def max_tokens(folder):
    path = folder / "sentence_bert_config.json"
    return json.loads(path.read_text())["max_seq_length"] if path.exists() else 512


def pooling(folder):
    path = folder / "1_Pooling" / "config.json"
    return "cls" if path.exists() and json.loads(path.read_text()).get("pooling_mode_cls_token") else "mean"


def pool(hidden, mask, how):
    """[batch, tokens, width] to vectors of length 1."""
    import numpy as np

    if how == "cls":
        vectors = hidden[:, 0]
    else:
        # As a product, [1, tokens] · [tokens, width] a text: faster than multiply and sum. Length 1 comes after.
        vectors = np.matmul(mask[:, None].astype(np.float32), hidden)[:, 0]
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


class Padded:
    """What a peer of padded batches does with a text; `forward(ids, mask)` gives the last hidden states."""

    def __init__(self, folder, forward, version, **more):
        self.texts, self.pooling = Texts(folder), pooling(folder)
        self.forward, self.version, self.more = forward, version, more

    def embed(self, names, size):
        import numpy as np

        ids, vectors = self.texts(names), None
        for some, padded, mask in self.texts.batches(ids, size):
            rows = pool(self.forward(padded, mask), mask, self.pooling)
            if vectors is None:
                vectors = np.empty((len(names), rows.shape[1]), dtype=np.float32)
            vectors[some] = rows
        return vectors


def exported(folder, cache):
    """The model as ONNX, its batch and sequence axes dynamic: exported once."""
    path = cache / "model.onnx"
    if path.exists():
        return path
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            kinds = torch.zeros_like(input_ids)
            return self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=kinds)[0]

    ids = torch.ones((2, 8), dtype=torch.int64)
    axes = {0: "batch", 1: "tokens"}
    torch.onnx.export(
        Encoder().eval(),
        (ids, ids),
        str(path),
        dynamo=False,
        input_names=["input_ids", "attention_mask"],
        output_names=["hidden"],
        dynamic_axes={"input_ids": axes, "attention_mask": axes, "hidden": axes},
        opset_version=17,
    )
    return path


def fused(folder, cache):
    """The export with onnxruntime's transformer fusions (Attention, SkipLayerNormalization, BiasGelu)."""
    path = cache / "fused.onnx"
    if not path.exists():
        from onnxruntime.transformers import optimizer

        config = json.loads((folder / "config.json").read_text())
        model = optimizer.optimize_model(
            str(exported(folder, cache)),
            model_type="bert",
            num_heads=config["num_attention_heads"],
            hidden_size=config["hidden_size"],
            opt_level=0,
        )
        print(model.get_fused_operator_statistics(), file=sys.stderr)
        model.save_model_to_file(str(path))
    return path


def quantized(folder, cache):
    """Dynamic quantization, weights by output channel. Without VNNI the weights take 7 bits: onnxruntime's u8 x s8
    kernel for AVX2 adds pairs of products in saturating 16 bits (its documentation advises reduce_range there)."""
    reduce_range = not cpu_flags() & {"avx512_vnni", "avx_vnni"}
    path = cache / f"int8{'_reduced' if reduce_range else ''}.onnx"
    if not path.exists():
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(
            fused(folder, cache),
            path,
            per_channel=True,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Attention"],
            # Shape inference does not know the fused operators: what they put out is told here.
            extra_options={"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT},
        )
    return path, reduce_range


def onnxruntime_session(path, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


def with_onnxruntime(kind, folder, cache, threads):
    import onnxruntime

    if kind == "f32":
        return Padded(folder, onnxruntime_session(fused(folder, cache), threads), onnxruntime.__version__)
    path, reduce_range = quantized(folder, cache)
    forward = onnxruntime_session(path, threads)
    return Padded(folder, forward, onnxruntime.__version__, weight_bits=7 if reduce_range else 8)


def with_openvino(kind, folder, cache, threads):
    import openvino

    core = openvino.Core()
    note = {}
    if kind == "int8":
        path = cache / "openvino_int8.xml"
        if not path.exists():
            post_training_quantization(folder, cache, path)
        model = core.read_model(path)
    else:
        model = core.read_model(exported(folder, cache))
    if kind == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        note["note"] = "this CPU has no bf16: OpenVINO runs f32 in its place"
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if kind == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(model, "CPU", settings)
    note["precision"] = str(compiled.get_property("INFERENCE_PRECISION_HINT"))
    request = compiled.create_infer_request()

    def forward(ids, mask):
        return request.infer([ids, mask], share_inputs=True, share_outputs=True)[0]

    return Padded(folder, forward, openvino.__version__.split("-")[0], **note)


def post_training_quantization(folder, cache, path):
    """Static int8 by nncf, calibrated on a few hundred made-up names."""
    import itertools

    import nncf
    import numpy as np
    import openvino

    places = "heart liver kidney lung brain skin bone muscle eye ear stomach colon thyroid breast nerve knee".split()
    kinds = "pain infection cancer failure inflammation swelling bleeding injury abscess cyst tumor fracture".split()
    states = ("acute", "Chronic", "severe", "left", "recurrent", "history of")
    names = [" ".join(words) for words in itertools.product(states, places, kinds)][::4]
    names += [f"{name}, {other}" for name, other in zip(names[::5], names[1::5])]
    texts = Texts(folder)
    samples = [(np.array([ids]), np.ones((1, len(ids)), dtype=np.int64)) for ids in texts(names)]
    model = openvino.Core().read_model(exported(folder, cache))
    quantized_model = nncf.quantize(
        model,
        nncf.Dataset(samples, lambda sample: {"input_ids": sample[0], "attention_mask": sample[1]}),
        subset_size=len(samples),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
    )
    openvino.save_model(quantized_model, path, compress_to_fp16=False)


class SentenceTransformers:
    """The library's own encode(), which sorts by length, pads and pools itself."""

    def __init__(self, folder, threads, dtype="float32", device="cpu"):
        import sentence_transformers
        import torch

        torch.set_num_threads(threads)
        self.model = sentence_transformers.SentenceTransformer(
            str(folder), device=device, model_kwargs={"dtype": getattr(torch, dtype)}
        )
        self.version = f"{sentence_transformers.__version__} (torch {torch.__version__})"
        self.texts, self.more = Texts(folder), {}
        if dtype == "bfloat16" and device == "cpu" and not cpu_flags() & {"avx512_bf16", "amx_bf16"}:
            self.more["note"] = "this CPU has no bf16: torch emulates it"

    def embed(self, names, size):
        vectors = self.model.encode(names, batch_size=size, normalize_embeddings=True, show_progress_bar=False)
        return vectors.astype("float32", copy=False)


def peer(name, folder, cache, threads):
    runtime, _, kind = name.rpartition("-")
    if name == "sentence-transformers":
        return SentenceTransformers(folder, threads)
    if name == "torch-bf16":
        return SentenceTransformers(folder, threads, "bfloat16")
    if runtime == "torch-cuda":
        dtype = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}[kind]
        return SentenceTransformers(folder, threads, dtype, "cuda")
    if runtime == "onnxruntime" and kind in ("f32", "int8"):
        return with_onnxruntime(kind, folder, cache, threads)
    if runtime == "openvino" and kind in ("f32", "bf16", "int8"):
        return with_openvino(kind, folder, cache, threads)
    raise SystemExit(f"no peer {name}; see --help")


def timed(model, names, size):
    started = time.perf_counter()
    vectors = model.embed(names, size)
    return time.perf_counter() - started, vectors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer")
    parser.add_argument("model", type=Path)
    parser.add_argument("names", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, help="this batch size, untuned")
    parser.add_argument("--vectors", help="write the vectors here (.npy)")
    parser.add_argument("--reference", help="f32 vectors of the same names (.npy)")
    parser.add_argument("--seconds-budget", type=float, default=300.0, help="start no further pass beyond this")
    parser.add_argument("--cache", type=Path, help="folder for exported and quantized models")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(args.threads))
    os.environ.setdefault("RAYON_NUM_THREADS", str(args.threads))

    import numpy as np

    folder = args.model.resolve()
    weights = folder / "model.safetensors"
    identity = hashlib.sha256(f"{weights}{weights.stat().st_size}{weights.stat().st_mtime}".encode()).hexdigest()[:12]
    cache = (args.cache or Path(tempfile.gettempdir()) / "generel-embed-peers") / identity
    cache.mkdir(parents=True, exist_ok=True)
    names = [
        " ".join(unicodedata.normalize("NFKC", line).split())
        for line in args.names.read_text(encoding="utf-8").rstrip("\n").split("\n")
    ]
    model = peer(args.peer, folder, cache, args.threads)

    begun = time.perf_counter()
    batches, sample = (GPU_BATCHES, GPU_SAMPLE) if "cuda" in args.peer else (BATCHES, SAMPLE)
    sample = names[:: max(1, len(names) // sample)]
    timed(model, sample, batches[0])  # warm-up, and every shape that the runtime prepares for
    if args.batch:
        size = args.batch
    else:
        size = min(batches, key=lambda size: min(timed(model, sample, size)[0] for _ in range(2)))
    timed(model, names, size)
    seconds, vectors, passes = float("inf"), None, 0
    while passes < PASSES and (passes == 0 or time.perf_counter() - begun + seconds < args.seconds_budget):
        took, vectors = timed(model, names, size)
        seconds, passes = min(seconds, took), passes + 1

    result = {
        "peer": args.peer,
        "version": model.version,
        "threads": args.threads,
        "batch": size,
        "passes": passes,
        "strings": len(names),
        "tokens": sum(map(len, model.texts(names))),
        "seconds": round(seconds, 3),
        "strings_per_s": round(len(names) / seconds, 1),
        **model.more,
    }
    if args.reference:
        reference = np.load(args.reference).astype(np.float64)
        ours = vectors.astype(np.float64)
        cosines = (reference * ours).sum(1) / np.linalg.norm(reference, axis=1) / np.linalg.norm(ours, axis=1)
        result["min_cosine"] = round(float(cosines.min()), 6)
        result["mean_cosine"] = round(float(cosines.mean()), 6)
    if args.vectors:
        np.save(args.vectors, vectors)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
