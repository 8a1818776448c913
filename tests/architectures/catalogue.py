"""Architectures by name: those of torchvision, one of each family, and small ones of transformers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Subject:
    """A network in evaluation mode, one batch of inputs, and what goes beside them."""

    net: nn.Module
    inputs: Tensor
    context: dict[str, Tensor] = field(default_factory=dict)


class Named(nn.Module):
    """A network that takes its inputs by name and answers with one tensor (n, outputs)."""

    def __init__(self, net: nn.Module, name: str, pick: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.net = net
        self.name = name
        self.pick = pick

    def forward(self, x: Tensor, **context: Any) -> Tensor:
        return self.pick(self.net(**{self.name: x}, **context))


def _picture(name: str, side: int = 64, **settings: Any) -> Callable[[], Subject]:
    def build() -> Subject:
        import torchvision

        net = getattr(torchvision.models, name)(num_classes=10, **settings)
        return Subject(net, torch.randn(2, 3, side, side))

    return build


def _maxvit() -> Subject:
    """MaxViT with the blocks of `maxvit_t`, for small pictures: that one takes 224 and windows of 7."""
    import torchvision

    net = torchvision.models.MaxVit(
        input_size=(64, 64), stem_channels=64, partition_size=2, block_channels=[64, 128, 256, 512],
        block_layers=[2, 2, 5, 2], head_dim=32, stochastic_depth_prob=0.2, num_classes=10,
    )  # fmt: skip
    return Subject(net, torch.randn(2, 3, 64, 64))


TORCHVISION: dict[str, Callable[[], Subject]] = {
    "alexnet": _picture("alexnet"),
    "vgg11_bn": _picture("vgg11_bn", 32),
    "resnet18": _picture("resnet18"),
    "resnext50_32x4d": _picture("resnext50_32x4d"),
    "wide_resnet50_2": _picture("wide_resnet50_2", 32),
    "densenet121": _picture("densenet121"),
    "googlenet": _picture("googlenet", aux_logits=False, init_weights=False),
    "inception_v3": _picture("inception_v3", 80, aux_logits=False, init_weights=False),
    "squeezenet1_1": _picture("squeezenet1_1"),
    "mobilenet_v2": _picture("mobilenet_v2"),
    "mobilenet_v3_small": _picture("mobilenet_v3_small"),
    "shufflenet_v2_x0_5": _picture("shufflenet_v2_x0_5"),
    "mnasnet0_5": _picture("mnasnet0_5"),
    "efficientnet_b0": _picture("efficientnet_b0"),
    "efficientnet_v2_s": _picture("efficientnet_v2_s", 32),
    "regnet_y_400mf": _picture("regnet_y_400mf"),
    "regnet_x_400mf": _picture("regnet_x_400mf"),
    "convnext_tiny": _picture("convnext_tiny", 32),
    "swin_t": _picture("swin_t"),
    "swin_v2_t": _picture("swin_v2_t"),
    "vit_b_32": _picture("vit_b_32", image_size=64),
    "maxvit_t": _maxvit,
}

_SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "vocab_size": 50, "max_position_embeddings": 40,
}  # fmt: skip
_IMAGE = {"image_size": 16, "patch_size": 4}


def _logits(found: Any) -> Tensor:
    return found.logits


def _last(found: Any) -> Tensor:
    return found.logits[:, -1]


def _words(
    model: str, config: str, pick: Callable[[Any], Tensor] = _logits, *, masked: bool = True,
    **settings: Any,
) -> Callable[[], Subject]:  # fmt: skip
    def build() -> Subject:
        import transformers

        made = getattr(transformers, config)(**settings)
        net = getattr(transformers, model)(made)
        ids = torch.randint(5, 50, (2, 6))
        context = {"attention_mask": torch.ones(2, 6, dtype=torch.long)} if masked else {}
        return Subject(Named(net, "input_ids", pick), ids, context)

    return build


def _image(
    model: str, config: str, pick: Callable[[Any], Tensor] = _logits, side: int = 16,
    **settings: Any,
) -> Callable[[], Subject]:  # fmt: skip
    def build() -> Subject:
        import transformers

        net = getattr(transformers, model)(getattr(transformers, config)(**settings))
        return Subject(Named(net, "pixel_values", pick), torch.randn(2, 3, side, side))

    return build


def _speaks(model: str, config: str, **settings: Any) -> Callable[[], Subject]:
    """An encoder and a decoder, which is shown the words so far."""

    def build() -> Subject:
        import transformers

        net = getattr(transformers, model)(getattr(transformers, config)(**settings))
        ids = torch.randint(5, 50, (2, 6))
        context = {
            "attention_mask": torch.ones(2, 6, dtype=torch.long),
            "decoder_input_ids": torch.randint(5, 50, (2, 3)),
        }
        return Subject(Named(net, "input_ids", _last), ids, context)

    return build


def _clip() -> Subject:
    import transformers

    small = {k: v for k, v in _SMALL.items() if k not in ("vocab_size", "max_position_embeddings")}
    text = {**small, "vocab_size": 50, "max_position_embeddings": 40, "projection_dim": 8}
    vision = {**small, **_IMAGE, "projection_dim": 8}
    config = transformers.CLIPConfig(
        text_config={**text, "eos_token_id": 49}, vision_config=vision, projection_dim=8
    )
    net = Pairs(transformers.CLIPModel(config), torch.randint(5, 49, (3, 6)))
    return Subject(net, torch.randn(2, 3, 16, 16))


class Pairs(nn.Module):
    """Pictures against a few fixed texts."""

    def __init__(self, net: nn.Module, texts: Tensor) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("texts", texts)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.net(input_ids=self.texts, pixel_values=pictures).logits_per_image


_GPT = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 50, "n_positions": 40}
_LLAMA = {**_SMALL, "num_key_value_heads": 1, "head_dim": 8, "pad_token_id": 0}
_CLASSIFIES = {**_SMALL, "num_labels": 3, "pad_token_id": 0}

TRANSFORMERS: dict[str, Callable[[], Subject]] = {
    "BERT": _words("BertForSequenceClassification", "BertConfig", **_CLASSIFIES),
    "DistilBERT": _words(
        "DistilBertForSequenceClassification", "DistilBertConfig", dim=16, n_layers=2, n_heads=2,
        hidden_dim=32, vocab_size=50, num_labels=3,
    ),
    "RoBERTa": _words("RobertaForSequenceClassification", "RobertaConfig", **_CLASSIFIES),
    "ALBERT": _words(
        "AlbertForSequenceClassification", "AlbertConfig", embedding_size=8, **_CLASSIFIES
    ),
    "ELECTRA": _words(
        "ElectraForSequenceClassification", "ElectraConfig", embedding_size=8, **_CLASSIFIES
    ),
    "DeBERTa": _words(
        "DebertaForSequenceClassification", "DebertaConfig", relative_attention=True,
        pos_att_type=["c2p", "p2c"], **_CLASSIFIES,
    ),
    "DeBERTa v2": _words(
        "DebertaV2ForSequenceClassification", "DebertaV2Config", relative_attention=True,
        pos_att_type=["c2p", "p2c"], **_CLASSIFIES,
    ),
    "MPNet": _words("MPNetForSequenceClassification", "MPNetConfig", **_CLASSIFIES),
    "GPT-2": _words("GPT2LMHeadModel", "GPT2Config", _last, **_GPT),
    "GPT-NeoX": _words("GPTNeoXForCausalLM", "GPTNeoXConfig", _last, **_SMALL),
    "OPT": _words(
        "OPTForCausalLM", "OPTConfig", _last, hidden_size=16, num_hidden_layers=2,
        num_attention_heads=2, ffn_dim=32, vocab_size=50, max_position_embeddings=40,
        word_embed_proj_dim=16,
    ),
    "T5": _speaks(
        "T5ForConditionalGeneration", "T5Config", d_model=16, d_kv=8, d_ff=32, num_layers=2,
        num_heads=2, vocab_size=50, decoder_start_token_id=0,
    ),
    "BART": _speaks(
        "BartForConditionalGeneration", "BartConfig", d_model=16, encoder_layers=2,
        decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=50, max_position_embeddings=40,
    ),
    "ViT": _image("ViTForImageClassification", "ViTConfig", num_labels=3, **_IMAGE, **{
        k: v for k, v in _SMALL.items() if k not in ("vocab_size", "max_position_embeddings")}),
    "DeiT": _image("DeiTForImageClassification", "DeiTConfig", num_labels=3, **_IMAGE, **{
        k: v for k, v in _SMALL.items() if k not in ("vocab_size", "max_position_embeddings")}),
    "BEiT": _image("BeitForImageClassification", "BeitConfig", num_labels=3, **_IMAGE,
        use_relative_position_bias=True, **{
        k: v for k, v in _SMALL.items() if k not in ("vocab_size", "max_position_embeddings")}),
    "Swin": _image(
        "SwinForImageClassification", "SwinConfig", embed_dim=8, depths=[1, 1], num_heads=[2, 2],
        window_size=2, num_labels=3, image_size=16, patch_size=2,
    ),
    "ConvNeXt": _image(
        "ConvNextForImageClassification", "ConvNextConfig", side=32, hidden_sizes=[4, 8, 8, 8],
        depths=[1, 1, 1, 1], num_labels=3,
    ),
    "ResNet": _image(
        "ResNetForImageClassification", "ResNetConfig", side=32, embedding_size=4,
        hidden_sizes=[4, 8], depths=[1, 1], num_labels=3,
    ),
    "CLIP": _clip,
    "Mamba": _words(
        "MambaForCausalLM", "MambaConfig", _last, masked=False, hidden_size=16, state_size=4,
        num_hidden_layers=2, vocab_size=50, use_cache=False,
    ),
    "RWKV": _words(
        "RwkvForCausalLM", "RwkvConfig", _last, masked=False, hidden_size=16,
        attention_hidden_size=16, num_hidden_layers=2, vocab_size=50, use_cache=False,
    ),
    "Llama": _words("LlamaForCausalLM", "LlamaConfig", _last, **_LLAMA),
    "Mistral": _words("MistralForCausalLM", "MistralConfig", _last, sliding_window=3, **_LLAMA),
    "Qwen2": _words("Qwen2ForCausalLM", "Qwen2Config", _last, **_LLAMA),
    "Gemma": _words("GemmaForCausalLM", "GemmaConfig", _last, **_LLAMA),
    "Phi": _words("PhiForCausalLM", "PhiConfig", _last, **_SMALL),
    "Mixtral": _words(
        "MixtralForCausalLM", "MixtralConfig", _last, num_local_experts=3, **_LLAMA
    ),
}  # fmt: skip

ALL = {
    **{f"torchvision {name}": build for name, build in TORCHVISION.items()},
    **{f"transformers {name}": build for name, build in TRANSFORMERS.items()},
}
FEW = (
    "torchvision squeezenet1_1", "transformers ResNet",
    "transformers BERT", "transformers GPT-2", "transformers Swin", "transformers T5",
    "transformers Llama",
)  # fmt: skip


def build(name: str, seed: int = 0) -> Subject:
    """An architecture with weights of a seed, in evaluation mode and in float64 where it runs so."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        subject = ALL[name]()
        for module in subject.net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        # Some architectures start their layers at almost nothing (layer scales of 1e-6, zero biases).
        for parameter in subject.net.parameters():
            if parameter.dim() == 1 and float(parameter.detach().abs().max()) < 1e-3:
                parameter.data.normal_(0, 0.1)
    subject.net.eval()
    return _in_double(subject)


def _in_double(subject: Subject) -> Subject:
    floating = subject.inputs.is_floating_point()
    inputs = subject.inputs.double() if floating else subject.inputs
    try:
        subject.net.double()
        with torch.no_grad():
            subject.net(inputs, **subject.context)
    except RuntimeError:
        subject.net.float()
        return subject
    return Subject(subject.net, inputs, subject.context)
