"""A small Qwen3 in plain PyTorch, with Hugging Face's parameter names."""

import torch
import torch.nn.functional as F
from torch import nn

CONFIG = dict(hidden_size=160, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
              intermediate_size=384, rms_norm_eps=1e-6, rope_theta=10000.0, max_position_embeddings=1024)


# Where the CPU has instructions for bfloat16 it multiplies that several times
# faster than float32; without them (AVX2 only, for example) 25 times slower.
FAST = torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else torch.float32


def rotary(length, c):
    """cos and sin tables, float32."""
    half = torch.arange(0, c["head_dim"], 2).float() / c["head_dim"]
    angle = torch.arange(length).float()[:, None] * c["rope_theta"] ** -half
    angle = torch.cat((angle, angle), -1)
    return angle.cos(), angle.sin()


class Fast(torch.autograd.Function):
    """x @ w.T with inputs of the type `FAST`.

    Weights, sums, the residual stream and the attention are float32 always.
    """

    @staticmethod
    def forward(ctx, x, w):
        x, w = x.to(FAST), w.to(FAST)
        ctx.save_for_backward(x, w)
        return (x @ w.T).float()

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        g = g.to(FAST)
        return (g @ w).float(), (g.flatten(0, -2).T @ x.flatten(0, -2)).float()


class SwiGLU(torch.autograd.Function):
    """down(silu(gate(x)) * up(x)), derived by hand to save passes over memory."""

    @staticmethod
    def forward(ctx, x, both, down):
        x, both, down = x.to(FAST), both.to(FAST), down.to(FAST)
        parts = x @ both.T
        gate, up = parts.chunk(2, -1)
        act = F.silu(gate)
        inner = act * up
        ctx.save_for_backward(x, both, down, parts, act, inner)
        return (inner @ down.T).float()

    @staticmethod
    def backward(ctx, g):
        x, both, down, parts, act, inner = ctx.saved_tensors
        g = g.to(FAST)
        gate, up = parts.chunk(2, -1)
        d_inner = g @ down
        d_parts = torch.empty_like(parts)
        d_gate, d_up = d_parts.chunk(2, -1)
        torch.mul(d_inner, act, out=d_up)
        d_gate.copy_(torch.ops.aten.silu_backward(d_inner * up, gate))
        return (d_parts @ both).float(), (d_parts.T @ x).float(), (g.T @ inner).float()


class RMS(torch.autograd.Function):
    """x / rms(x) * weight."""

    @staticmethod
    def forward(ctx, x, weight, eps):
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        unit = x * scale
        ctx.save_for_backward(unit, scale, weight)
        return unit * weight

    @staticmethod
    def backward(ctx, g):
        unit, scale, weight = ctx.saved_tensors
        product = g * unit
        d_weight = product.flatten(0, -2).sum(0)
        mean = (product @ weight).unsqueeze_(-1).div_(-unit.shape[-1])
        return (g * weight).addcmul_(unit, mean).mul_(scale), d_weight, None


class Rotate(torch.autograd.Function):
    """Rotary positions; the gradient is the rotation the other way."""

    @staticmethod
    def turn(x, cos, sin, sign):
        out, half = x * cos, x.shape[-1] // 2
        out[..., :half].addcmul_(x[..., half:], sin[..., half:], value=-sign)
        out[..., half:].addcmul_(x[..., :half], sin[..., :half], value=sign)
        return out

    @staticmethod
    def forward(ctx, x, cos, sin):
        ctx.save_for_backward(cos, sin)
        return Rotate.turn(x, cos, sin, 1)

    @staticmethod
    def backward(ctx, g):
        return Rotate.turn(g, *ctx.saved_tensors, -1), None, None


class Norm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        return RMS.apply(x, self.weight, self.eps)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, h, k, e = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        self.h, self.k, self.e = h, k, e
        self.q_proj, self.k_proj = nn.Linear(d, h * e, bias=False), nn.Linear(d, k * e, bias=False)
        self.v_proj, self.o_proj = nn.Linear(d, k * e, bias=False), nn.Linear(h * e, d, bias=False)
        self.q_norm, self.k_norm = Norm(e, c["rms_norm_eps"]), Norm(e, c["rms_norm_eps"])

    def forward(self, x, cos, sin):
        b, t, _ = x.shape
        parts = Fast.apply(x, torch.cat((self.q_proj.weight, self.k_proj.weight, self.v_proj.weight)))
        q, k, v = (y.view(b, t, -1, self.e) for y in parts.split((self.h * self.e, self.k * self.e, self.k * self.e), -1))
        q, k, v = self.q_norm(q).transpose(1, 2), self.k_norm(k).transpose(1, 2), v.transpose(1, 2)
        q, k = Rotate.apply(q, cos, sin), Rotate.apply(k, cos, sin)
        k, v = (y.repeat_interleave(self.h // self.k, 1) for y in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return Fast.apply(y.transpose(1, 2).reshape(b, t, -1), self.o_proj.weight)


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, f = c["hidden_size"], c["intermediate_size"]
        self.gate_proj, self.up_proj = nn.Linear(d, f, bias=False), nn.Linear(d, f, bias=False)
        self.down_proj = nn.Linear(f, d, bias=False)

    def forward(self, x):
        both = torch.cat((self.gate_proj.weight, self.up_proj.weight))
        return SwiGLU.apply(x.flatten(0, 1), both, self.down_proj.weight).view(x.shape)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.mlp = MLP(c)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Inner(nn.Module):
    def __init__(self, c, vocab):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab, c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = Norm(c["hidden_size"], c["rms_norm_eps"])


class Ember(nn.Module):
    def __init__(self, vocab, c=CONFIG):
        super().__init__()
        self.model = Inner(c, vocab)
        cos, sin = rotary(c["max_position_embeddings"], c)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, p in self.named_parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.02 if "embed" in name else p.shape[1] ** -0.5)
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(p)  # every layer starts as the identity

    def hidden(self, ids):
        x = self.model.embed_tokens(ids)
        cos, sin = self.cos[:ids.shape[1]], self.sin[:ids.shape[1]]
        for layer in self.model.layers:
            x = layer(x, cos, sin)
        return self.model.norm(x)

    def forward(self, ids):
        return Fast.apply(self.hidden(ids), self.model.embed_tokens.weight)
