"""A training step of PyTorch as benches/train.rs takes it: python train_peers.py MODEL PAIRS.tsv STEPS BATCH f32|bf16 THREADS DEVICE."""

import json
import os
import sys
import time

import torch
from tokenizers import Tokenizer
from transformers import BertModel

folder, file, steps, batch, precision = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
torch.set_num_threads(int(sys.argv[6]))
device = torch.device(sys.argv[7])
torch.manual_seed(1)
model = BertModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="sdpa").train().to(device)
for module in model.modules():
    if isinstance(module, torch.nn.Dropout):
        module.p = 0.0
model.config.attention_probs_dropout_prob = 0.0
for layer in model.encoder.layer:
    layer.attention.self.dropout_prob = 0.0
for parameter in model.embeddings.parameters():
    parameter.requires_grad = False
log_scale = torch.nn.Parameter(torch.tensor(20.0, device=device).log())
layers = [p for p in model.encoder.parameters()]
adam = torch.optim.AdamW(
    [{"params": layers, "lr": 5e-5, "weight_decay": 0.01}, {"params": [log_scale], "lr": 1e-2, "weight_decay": 0.0}],
    fused=True,
)
tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
tokenizer.enable_truncation(32)
tokenizer.no_padding()
pairs = [line.rstrip("\n").split("\t") for line in open(file, encoding="utf-8")]
ids = [[e.ids for e in tokenizer.encode_batch([a, b])] for a, b in pairs[: steps * batch]]


def encode(texts):
    longest = max(map(len, texts))
    tokens = torch.tensor([t + [0] * (longest - len(t)) for t in texts], device=device)
    mask = torch.tensor([[1] * len(t) + [0] * (longest - len(t)) for t in texts], device=device)
    hidden = model(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
    mask = mask.unsqueeze(-1).float()
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)


losses, tokens, began = [], 0, 0.0
for step in range(steps):
    if step == 1:
        began = time.perf_counter()
    some = [ids[(step * batch + i) % len(ids)] for i in range(batch)]
    texts = [a for a, _ in some] + [b for _, b in some]
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        vectors = encode(texts)
    scores = vectors[:batch] @ vectors[batch:].T * log_scale.exp()
    target = torch.arange(batch, device=device)
    loss = (torch.nn.functional.cross_entropy(scores, target) + torch.nn.functional.cross_entropy(scores.T, target)) / 2
    adam.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(layers, 1.0)
    adam.step()
    losses.append(loss.item())
    tokens += sum(map(len, texts)) if step else 0
seconds = time.perf_counter() - began
print(json.dumps({"steps_s": (steps - 1) / seconds, "tokens_s": tokens / seconds, "losses": losses}))
