"""Untrained models of the demo, saved as a user's own would be: a GPT-2 with its tokenizer, and a DistilBERT with its."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from appliance.ppo.feed import seed_for
from appliance.store.files import write_folder

VOCABULARY = 1024
CONTEXT_TOKENS = 128
END, PAD = "<|endoftext|>", "<|pad|>"


def make(folder: Path, texts: list[str], seed: int) -> None:
    """policy/ and classifier/ below `folder`, their tokenizers trained on `texts`, their weights drawn from `seed`."""
    torch.manual_seed(seed_for(seed, "demo models"))
    _save(gpt2(), bpe_tokenizer(texts), folder / "policy")
    _save(distilbert(), wordpiece_tokenizer(texts), folder / "classifier")


def gpt2() -> GPT2LMHeadModel:
    """Two layers of width 128; token 0 ends a text, token 1 pads."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=CONTEXT_TOKENS,
            n_embd=128,
            n_layer=2,
            n_head=4,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=1,
            resid_pdrop=0.0,  # two passes over invented reviews leave nothing to regularize
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    )


def distilbert() -> DistilBertModel:
    """Two layers of width 128, without a head: the reward stage puts a new one on it."""
    return DistilBertModel(
        DistilBertConfig(
            vocab_size=VOCABULARY,
            max_position_embeddings=CONTEXT_TOKENS,
            n_layers=2,
            n_heads=4,
            dim=128,
            hidden_dim=512,
            dropout=0.0,
            attention_dropout=0.0,
            seq_classif_dropout=0.0,
        )
    )


def bpe_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as GPT-2 has it."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        model_max_length=CONTEXT_TOKENS,
        model_input_names=["input_ids", "attention_mask"],
    )


def wordpiece_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Lower-cased WordPiece between [CLS] and [SEP], as BERT has it; the same in every process."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = _lower_case_pieces(models.WordPiece(unk_token="[UNK]"))
    # The trainer numbers the letters inside words in the order of a hash table, and breaks ties by number: they are
    # given to it beforehand, and the vocabulary alone is kept, in which they are words like others.
    normal, split = made.normalizer.normalize_str, made.pre_tokenizer.pre_tokenize_str
    words = {word for text in texts for word, _ in split(normal(text))}
    first, inner = sorted({word[0] for word in words}), sorted({letter for word in words for letter in word[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[*special, *first, *(f"##{letter}" for letter in inner)],
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    made = _lower_case_pieces(models.WordPiece(made.get_vocab(), unk_token="[UNK]"))
    made.add_special_tokens(special)
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
        model_max_length=CONTEXT_TOKENS,
        model_input_names=["input_ids", "attention_mask"],
    )


def _lower_case_pieces(model: models.WordPiece) -> Tokenizer:
    made = Tokenizer(model)
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    return made


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    def fill(place: Path) -> None:
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)

    write_folder(folder, fill)
