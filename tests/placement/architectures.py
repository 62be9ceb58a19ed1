"""Thirteen architectures of torch in their proportions, small: name to (module, example inputs)."""

import torch
from torch import nn
from torch.nn import functional


def _conv(a, b, stride=1):
    return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, a, b, stride):
        super().__init__()
        self.body = nn.Sequential(_conv(a, b, stride), nn.Conv2d(b, b, 3, padding=1), nn.BatchNorm2d(b))
        self.skip = nn.Conv2d(a, b, 1, stride) if stride > 1 or a != b else nn.Identity()

    def forward(self, x):
        return functional.relu(self.body(x) + self.skip(x))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2, self.bottom = _conv(3, 8), _conv(8, 16, 2), _conv(16, 32, 2)
        self.up2, self.mix2 = nn.ConvTranspose2d(32, 16, 2, 2), _conv(32, 16)
        self.up1, self.mix1, self.head = nn.ConvTranspose2d(16, 8, 2, 2), _conv(16, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(a)
        b = self.mix2(torch.cat([b, self.up2(self.bottom(b))], 1))
        return self.head(self.mix1(torch.cat([a, self.up1(b)], 1)))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.embed, self.core, self.head = nn.Embedding(50, 16), kind(16, 24, 2, batch_first=True), nn.Linear(24, 50)

    def forward(self, tokens):
        return self.head(self.core(self.embed(tokens))[0])


class Block(nn.Module):
    def __init__(self, width, causal):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down, self.causal = nn.Linear(width, 4 * width), nn.Linear(4 * width, width), causal

    def forward(self, x):
        q, k, v = (t.unflatten(-1, (4, -1)).transpose(1, 2) for t in self.qkv(self.norm1(x)).chunk(3, -1))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.project(mixed.transpose(1, 2).flatten(2))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Decoder(nn.Module):
    """GPT-like, with tied weights and a parameter of its own."""

    def __init__(self, layers=4, width=32, vocabulary=100, tied=True, length=16):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.ModuleList([Block(width, True) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions[torch.arange(tokens.shape[1])]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class ViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches, self.mark = nn.Conv2d(3, 32, 4, 4), nn.Parameter(torch.zeros(1, 1, 32))
        self.blocks = nn.Sequential(*[Block(32, False) for _ in range(3)])
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.blocks(torch.cat([self.mark.expand(len(x), -1, -1), x], 1))[:, 0])


class Experts(nn.Module):
    """A dense mixture: every expert works, the gate weighs."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(16, 4)
        self.experts = nn.ModuleList([nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16)) for _ in range(4)])
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        weights = self.gate(x).softmax(-1)
        return self.head(x + sum(weights[..., i : i + 1] * expert(x) for i, expert in enumerate(self.experts)))


class MixerLayer(nn.Module):
    def __init__(self, tokens, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.across = nn.Sequential(nn.Linear(tokens, 32), nn.GELU(), nn.Linear(32, tokens))
        self.along = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))

    def forward(self, x):
        x = x + self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.along(self.norm2(x))


class Inception(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = _conv(3, 8)
        self.narrow, self.wide = nn.Conv2d(8, 8, 1), nn.Sequential(nn.Conv2d(8, 4, 1), _conv(4, 8))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(8, 8, 1))
        self.head = nn.Linear(24, 10)

    def forward(self, x):
        x = self.stem(x)
        return self.head(torch.cat([self.narrow(x), self.wide(x), self.pooled(x)], 1).mean((2, 3)))


class Siamese(nn.Module):
    """One encoder for both inputs."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))
        self.head = nn.Linear(8, 1)

    def forward(self, a, b):
        return self.head((self.encoder(a) - self.encoder(b)).abs())


class Towers(nn.Module):
    def __init__(self):
        super().__init__()
        self.user = nn.Sequential(nn.Embedding(40, 16), nn.Flatten(), nn.Linear(48, 8))
        self.item = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 8))

    def forward(self, user, item):
        return (self.user(user) * self.item(item)).sum(-1)


def _vgg():
    return nn.Sequential(
        _conv(3, 8), _conv(8, 8), nn.MaxPool2d(2), _conv(8, 16), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 128),
        nn.ReLU(), nn.Dropout(), nn.Linear(128, 10),
    )  # fmt: skip


def _resnet():
    blocks = [Residual(a, b, s) for a, b, s in ((8, 8, 1), (8, 16, 2), (16, 16, 1), (16, 32, 2))]
    return nn.Sequential(_conv(3, 8), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def _images(size=16):
    return (torch.zeros(2, 3, size, size),)


def _tokens(count=50, length=12):
    return (torch.zeros(2, length, dtype=torch.long),)


ARCHITECTURES = {
    "mlp": lambda: (nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4)),
                    (torch.zeros(3, 16),)),
    "resnet": lambda: (_resnet(), _images()),
    "vgg": lambda: (_vgg(), _images()),
    "unet": lambda: (UNet(), _images()),
    "lstm": lambda: (Recurrent(nn.LSTM), _tokens()),
    "gru": lambda: (Recurrent(nn.GRU), _tokens()),
    "encoder": lambda: (nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True), 3),
                        (torch.zeros(2, 12, 32),)),
    "decoder": lambda: (Decoder(), _tokens()),
    "vit": lambda: (ViT(), _images()),
    "experts": lambda: (Experts(), (torch.zeros(2, 6, 16),)),
    "mixer": lambda: (nn.Sequential(*[MixerLayer(12, 32) for _ in range(3)], nn.Linear(32, 10)),
                      (torch.zeros(2, 12, 32),)),
    "inception": lambda: (Inception(), _images()),
    "siamese": lambda: (Siamese(), (torch.zeros(3, 16), torch.zeros(3, 16))),
    "towers": lambda: (Towers(), (torch.zeros(3, 3, dtype=torch.long), torch.zeros(3, 20))),
}  # fmt: skip
