#!/usr/bin/env python3
"""Writes the tiny models of model/tests/fixtures/tiny/: random weights, one folder an architecture or file layout.

Each folder is as users meet such a model (Hugging Face, sentence-transformers), small enough for the repository, with
expected.json: texts, the token ids that the model sees, and the vectors by PyTorch and Hugging Face transformers in
32-bit floats on the CPU, one text at a time. Weights are drawn wide (norms and biases too), so that a wrong position,
activation, pooling or tokenization moves the vectors by far more than rounding does.

    bert-cls        BERT, cls; vocab.txt and tokenizer_config.json, no tokenizer.json; pytorch_model.bin with the names
                    of an old checkpoint: `bert.` in front, LayerNorm.gamma and beta, position_ids and a head to ignore
    roberta-mean    RoBERTa, mean; byte-level BPE; positions from 2; no sentence_bert_config.json: 48 tokens at most
                    (model_max_length, which is max_position_embeddings - 2)
    mpnet-mean      MPNet, mean, normalized by its modules.json; relative attention bias, positions from 2
    mpnet-heads     the same with heads of 32 values, which tensor cores take
    bge-like        BERT, cls, float16; a prompt in front of every text (config_sentence_transformers.json); heads of 10
    bert-gelu-new   BERT with gelu_new, mean, bfloat16; no sentence-transformers files
    bert-relu       BERT with relu, mean, float16; cased (no lower case, accents kept)
    distilbert-mean DistilBERT, mean, float16; vocab.txt and tokenizer.json

Install, in a virtual environment:

    python3 -m venv .venv
    .venv/bin/pip install torch transformers sentence-transformers

Run:

    .venv/bin/python scripts/tiny_models.py --out model/tests/fixtures/tiny [--check]

--check compares the vectors with those of the library sentence-transformers, and says how far apart they are.

The texts are stored as they are here; each is normalized as the program does it (Unicode NFKC, whitespace runs to one
blank, trimmed), then the model's default prompt is put in front.
"""

import argparse
import json
import os
import platform
import shutil
import unicodedata
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the folders are all there is

import tokenizers
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, AutoTokenizer

TEXTS = [
    "heart attack",
    "Chronic kidney disease, stage 3b",
    "NON-SMALL CELL LUNG CARCINOMA",
    "Ménière's  disease",
    "type 2 diabetes mellitus (E11.9)",
    "a",
    "cardiomyopathy",
    "quartz",  # no token for q: unknown as a word, or bytes
    "糖尿病",  # its last character is in no vocabulary
    "🫀 failure",
    "β-thalassemia",
    "\ufb01brosis of the\tliver",  # the fi ligature
    "acute inflammation of the heart, the lung, the liver, the kidney and the skin with fever and pain " * 3
    + "and this does not count",  # beyond every model's length
]

# Pieces of words; letters but for q and z are added, as the beginning and the inside of a word.
WORDS = (
    "heart attack chronic kidney disease stage type diabetes cell lung cancer of the and with fever pain acute liver "
    "skin small non in a cardio represent this medical name query"
).split()
INSIDE = "itis emia pathy myo oma osis carcin mell itus ation al ic s ed er fail ure infl amm thal ass fibr".split()
LETTERS = "abcdefghijklmnoprstuvwxy"
SIGNS = list("0123456789.,:;()[]-+/%'\"<>=") + ["β", "糖", "尿", "é", "è"]


def unique(tokens):
    return list(dict.fromkeys(tokens))


def wordpieces(special, cased=False):
    upper = list("ABCDEGHILMNORSTU") + ["Chronic"] if cased else []
    inside = INSIDE + list(LETTERS) + list("0123456789") + (["é", "è"] if cased else [])
    inside += list("ABCDEGHILMNORSTU") if cased else []
    return unique(special + WORDS + list(LETTERS) + SIGNS + upper + ["##" + piece for piece in inside])


BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MPNET_SPECIAL = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]


def wordpiece_tokenizer(vocabulary, begin, end, lower):
    """As transformers' fast BERT tokenizers are."""
    ids = {token: i for i, token in enumerate(vocabulary)}
    fast = tokenizers.Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    fast.normalizer = normalizers.BertNormalizer(lowercase=lower, strip_accents=None)
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast.decoder = decoders.WordPiece()
    fast.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} $B:1 {end}:1",
        special_tokens=[(token, ids[token]) for token in (begin, end)],
    )
    fast.add_special_tokens([t for t in (*BERT_SPECIAL, *MPNET_SPECIAL) if t in ids])
    return fast


def byte_pairs():
    """Byte-level BPE, its merges learned from the words above."""
    fast = tokenizers.Tokenizer(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=301,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    fast.train_from_iterator([" ".join(WORDS)] * 3 + ["inflammation cardiomyopathy carcinoma mellitus"], trainer)
    learned = json.loads(fast.to_str())["model"]
    vocabulary = {**learned["vocab"], "<mask>": len(learned["vocab"])}
    merges = [tuple(merge) for merge in learned["merges"]]
    fast = tokenizers.Tokenizer(models.BPE(vocabulary, merges))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    fast.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    fast.add_special_tokens(
        [tokenizers.AddedToken(t, normalized=True) for t in ("<s>", "<pad>", "</s>", "<unk>")]
        + [tokenizers.AddedToken("<mask>", lstrip=True)]
    )
    return fast, vocabulary, merges


def weights(config, seed):
    """A model's state, drawn wide enough for every part of it to matter."""
    generator = torch.Generator().manual_seed(seed)
    model = AutoModel.from_config(AutoConfig.for_model(**config), dtype=torch.float32)
    state = {}
    for name, value in model.state_dict().items():
        if "pooler" in name or not value.is_floating_point():
            continue
        noise = torch.randn(value.shape, generator=generator)
        if "LayerNorm.weight" in name or "layer_norm.weight" in name:
            state[name] = 1 + 0.2 * noise
        elif name.endswith("bias"):
            state[name] = 0.2 * noise
        elif "relative_attention_bias" in name:
            state[name] = noise
        elif "embeddings" in name:
            state[name] = 0.5 * noise
        else:
            state[name] = noise * 1.5 / value.shape[1] ** 0.5
    return state


def write(folder, name, value):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


def write_safetensors(folder, state, dtype=torch.float32):
    path = folder / "model.safetensors"
    save_file({name: value.to(dtype) for name, value in state.items()}, path, metadata={"format": "pt"})
    path.chmod(0o644)


def write_modules(folder, pooling, width, normalize=False):
    """modules.json and 1_Pooling/config.json as sentence-transformers writes them."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")] + ([("2_Normalize", "Normalize")] if normalize else [])
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    write(folder, "modules.json", modules)
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    used = {"cls": "cls_token", "mean": "mean_tokens"}[pooling]
    config = {"word_embedding_dimension": width, **{f"pooling_mode_{mode}": mode == used for mode in modes}}
    write(folder, "1_Pooling/config.json", config)


def bert_config(vocabulary, **changes):
    return {
        "architectures": ["BertModel"],
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": 32,
        "initializer_range": 0.02,
        "intermediate_size": 64,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 48,
        "model_type": "bert",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "type_vocab_size": 2,
        "vocab_size": len(vocabulary),
        **changes,
    }


def bert_tokenizer_config(lower=True, kind="BertTokenizer", length=48):
    return {
        "cls_token": "[CLS]",
        "do_lower_case": lower,
        "mask_token": "[MASK]",
        "model_max_length": length,
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "tokenizer_class": kind,
        "unk_token": "[UNK]",
    }


def marks(unknown):
    """Special tokens of RoBERTa's kin, as tokenizer_config.json names them."""
    begin, end = ("bos", "cls"), ("eos", "sep")
    tokens = (
        dict.fromkeys(begin, "<s>") | dict.fromkeys(end, "</s>") | {"pad": "<pad>", "unk": unknown, "mask": "<mask>"}
    )
    return {f"{kind}_token": token for kind, token in tokens.items()}


def bert_cls(folder):
    vocabulary = wordpieces(BERT_SPECIAL)
    config = bert_config(vocabulary, architectures=["BertForMaskedLM"])
    write(folder, "config.json", config)
    write(folder, "vocab.txt", "\n".join(vocabulary) + "\n")
    write(folder, "tokenizer_config.json", bert_tokenizer_config())
    write_modules(folder, "cls", config["hidden_size"])
    state = {"bert.embeddings.position_ids": torch.arange(config["max_position_embeddings"]).unsqueeze(0)}
    for name, value in weights(config, 1).items():
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        state["bert." + old] = value
    state["cls.predictions.bias"] = torch.zeros(len(vocabulary))
    torch.save(state, folder / "pytorch_model.bin")
    return 48


def roberta_mean(folder):
    fast, vocabulary, merges = byte_pairs()
    changes = {
        "architectures": ["RobertaModel"],
        "bos_token_id": 0,
        "eos_token_id": 2,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": 50,
        "model_type": "roberta",
        "pad_token_id": 1,
        "type_vocab_size": 1,
    }
    config = bert_config(vocabulary, **changes)
    write(folder, "config.json", config)
    write(folder, "vocab.json", json.dumps(vocabulary, ensure_ascii=False))
    write(folder, "merges.txt", "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    fast.save(str(folder / "tokenizer.json"), pretty=False)
    tokenizer = {
        "add_prefix_space": False,
        **marks("<unk>"),
        "model_max_length": 48,
        "tokenizer_class": "RobertaTokenizer",
    }
    write(folder, "tokenizer_config.json", tokenizer)
    write_modules(folder, "mean", config["hidden_size"])
    write_safetensors(folder, weights(config, 2))
    return 48


def mpnet_heads(folder):
    return mpnet_mean(folder, hidden_size=64, intermediate_size=96, num_attention_heads=2)


def mpnet_mean(folder, **more):
    vocabulary = wordpieces(MPNET_SPECIAL)
    config = bert_config(vocabulary, model_type="mpnet", architectures=["MPNetModel"], layer_norm_eps=1e-5, **more)
    config |= {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "max_position_embeddings": 50}
    config |= {"relative_attention_num_buckets": 32}
    del config["type_vocab_size"], config["position_embedding_type"]
    write(folder, "config.json", config)
    wordpiece_tokenizer(vocabulary, "<s>", "</s>", lower=True).save(str(folder / "tokenizer.json"), pretty=False)
    tokenizer = {"do_lower_case": True, **marks("[UNK]"), "model_max_length": 48, "tokenizer_class": "MPNetTokenizer"}
    write(folder, "tokenizer_config.json", tokenizer)
    write(folder, "sentence_bert_config.json", {"max_seq_length": 44, "do_lower_case": False})
    write(folder, "config_sentence_transformers.json", {"__version__": {"sentence_transformers": "2.0.0"}})
    write_modules(folder, "mean", config["hidden_size"], normalize=True)
    write_safetensors(folder, weights(config, 3))
    return 44


def bge_like(folder):
    vocabulary = wordpieces(BERT_SPECIAL)
    config = bert_config(vocabulary, hidden_size=40, intermediate_size=72, torch_dtype="float16")
    write(folder, "config.json", config)
    write(folder, "vocab.txt", "\n".join(vocabulary) + "\n")
    wordpiece_tokenizer(vocabulary, "[CLS]", "[SEP]", lower=True).save(str(folder / "tokenizer.json"), pretty=False)
    write(folder, "tokenizer_config.json", bert_tokenizer_config())
    write(folder, "sentence_bert_config.json", {"max_seq_length": 40, "do_lower_case": True})
    prompts = {
        "__version__": {"sentence_transformers": "2.7.0"},
        "prompts": {"query": "Represent this medical name: ", "passage": ""},
        "default_prompt_name": "query",
        "similarity_fn_name": "cosine",
    }
    write(folder, "config_sentence_transformers.json", prompts)
    write_modules(folder, "cls", config["hidden_size"], normalize=True)
    write_safetensors(folder, weights(config, 4), torch.float16)
    return 40


def bert_gelu_new(folder):
    vocabulary = wordpieces(BERT_SPECIAL)
    config = bert_config(vocabulary, hidden_act="gelu_new", num_hidden_layers=1, torch_dtype="bfloat16")
    write(folder, "config.json", config)
    wordpiece_tokenizer(vocabulary, "[CLS]", "[SEP]", lower=True).save(str(folder / "tokenizer.json"), pretty=False)
    write(folder, "tokenizer_config.json", bert_tokenizer_config())
    write_safetensors(folder, weights(config, 5), torch.bfloat16)
    return 48


def bert_relu(folder):
    vocabulary = wordpieces(BERT_SPECIAL, cased=True)
    config = bert_config(vocabulary, hidden_act="relu", num_hidden_layers=1, torch_dtype="float16")
    write(folder, "config.json", config)
    wordpiece_tokenizer(vocabulary, "[CLS]", "[SEP]", lower=False).save(str(folder / "tokenizer.json"), pretty=False)
    write(folder, "tokenizer_config.json", bert_tokenizer_config(lower=False))
    write_safetensors(folder, weights(config, 6), torch.float16)
    return 48


def distilbert_mean(folder):
    vocabulary = wordpieces(BERT_SPECIAL)
    config = {
        "activation": "gelu",
        "architectures": ["DistilBertModel"],
        "attention_dropout": 0.1,
        "dim": 32,
        "dropout": 0.1,
        "hidden_dim": 64,
        "initializer_range": 0.02,
        "max_position_embeddings": 48,
        "model_type": "distilbert",
        "n_heads": 4,
        "n_layers": 2,
        "pad_token_id": 0,
        "sinusoidal_pos_embds": False,
        "tie_weights_": True,
        "torch_dtype": "float16",
        "vocab_size": len(vocabulary),
    }
    write(folder, "config.json", config)
    write(folder, "vocab.txt", "\n".join(vocabulary) + "\n")
    wordpiece_tokenizer(vocabulary, "[CLS]", "[SEP]", lower=True).save(str(folder / "tokenizer.json"), pretty=False)
    write(folder, "tokenizer_config.json", bert_tokenizer_config(kind="DistilBertTokenizer"))
    write(folder, "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False})
    write_modules(folder, "mean", config["dim"])
    write_safetensors(folder, weights(config, 7), torch.float16)
    return 32


MODELS = {
    "bert-cls": bert_cls,
    "roberta-mean": roberta_mean,
    "mpnet-mean": mpnet_mean,
    "mpnet-heads": mpnet_heads,
    "bge-like": bge_like,
    "bert-gelu-new": bert_gelu_new,
    "bert-relu": bert_relu,
    "distilbert-mean": distilbert_mean,
}


def normalize(text):
    """NFKC, whitespace runs to one blank, trimmed."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def prompt(folder):
    path = folder / "config_sentence_transformers.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    return config.get("prompts", {}).get(config.get("default_prompt_name"), "")


def expected(folder, max_tokens):
    """(ids, vectors) of the texts, from the folder as it was written."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, loading = AutoModel.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    model.eval()
    missing = [name for name in loading["missing_keys"] if "pooler" not in name]
    assert not missing, missing
    path = folder / "1_Pooling" / "config.json"
    cls = path.exists() and json.loads(path.read_text())["pooling_mode_cls_token"]
    ids, vectors = [], []
    with torch.inference_mode():
        for text in TEXTS:
            text = prompt(folder) + normalize(text)
            own = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")
            hidden = model(input_ids=own["input_ids"], attention_mask=own["attention_mask"]).last_hidden_state[0]
            vector = hidden[0] if cls else hidden.mean(dim=0)
            vectors.append(torch.nn.functional.normalize(vector, dim=0))
            ids.append(own["input_ids"][0].tolist())
    return ids, torch.stack(vectors)


def write_expected(folder, ids, vectors):
    made_with = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    # One vector a line, so that a difference between two runs can be read.
    texts = ",\n".join("  " + json.dumps(text, ensure_ascii=False) for text in TEXTS)
    tokens = ",\n".join("  " + json.dumps(row) for row in ids)
    rows = ",\n".join("  " + json.dumps([float(f"{x:.8g}") for x in row]) for row in vectors.tolist())
    parts = [f' "made_with": {json.dumps(made_with)}', f' "texts": [\n{texts}\n ]']
    parts += [f' "ids": [\n{tokens}\n ]', f' "vectors": [\n{rows}\n ]']
    write(folder, "expected.json", "{\n" + ",\n".join(parts) + "\n}\n")


def check(folder, vectors):
    """Largest difference to sentence-transformers' own vectors."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    theirs = model.encode([normalize(text) for text in TEXTS], batch_size=1, normalize_embeddings=True)
    return float((torch.tensor(theirs) - vectors).abs().max())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=Path, help="the folder of the tiny models")
    parser.add_argument("--check", action="store_true", help="compare with sentence-transformers")
    parser.add_argument("--only", help="this model alone")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()

    for name, build in MODELS.items():
        if args.only not in (None, name):
            continue
        folder = args.out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        max_tokens = build(folder)
        ids, vectors = expected(folder, max_tokens)
        write_expected(folder, ids, vectors)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        cosines = (vectors @ vectors.T).fill_diagonal_(-1)
        line = f"{name:16} {size / 1000:6.1f} kB, at most {max(map(len, ids))} tokens, "
        line += f"highest cosine of two texts {float(cosines.max()):.3f}"
        if args.check:
            line += f", furthest from sentence-transformers {check(folder, vectors):.1e}"
        print(line)


if __name__ == "__main__":
    main()
